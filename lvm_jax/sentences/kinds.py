"""Every kind of source by the name that a config gives it.

Single images; pairs, of which one is given or computed: annotations from a folder, colors, holes,
edges, what pictures lose (blur, noise, light, rain, rotation, resolution), drawings of a COCO-style
file (boxes, keypoints, segments) and label maps; clips: videos, annotated videos, views around an
object; groups: classes, several annotations of an image.
"""

from lvm_jax.sentences import clips, coco, groups, label_maps, pairs, restoration
from lvm_jax.sentences.sources import SingleImages, Source

KINDS: dict[str, type[Source]] = {
    "single": SingleImages,
    "annotation": pairs.ImageAnnotationPairs,
    "colorization": pairs.ColorizationPairs,
    "inpainting": pairs.InpaintingPairs,
    "edges": pairs.EdgePairs,
    "blur": restoration.BlurPairs,
    "noise": restoration.NoisePairs,
    "low_light": restoration.LowLightPairs,
    "rain": restoration.RainPairs,
    "rotation": restoration.RotationPairs,
    "downscaling": restoration.DownscalingPairs,
    "boxes": coco.BoxPairs,
    "keypoints": coco.KeypointPairs,
    "segmentation": coco.SegmentationPairs,
    "label_map": label_maps.LabelMapPairs,
    "video": clips.Videos,
    "annotated_video": clips.AnnotatedVideos,
    "multiview": clips.MultiView,
    "category": groups.CategoryGroups,
    "multi_annotation": groups.MultiAnnotation,
}
