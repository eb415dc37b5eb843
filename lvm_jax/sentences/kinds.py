"""Every kind of source by the name that a config gives it."""

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
