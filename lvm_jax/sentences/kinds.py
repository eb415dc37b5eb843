"""Every kind of source by the name that a config gives it."""

from lvm_jax.sentences import clips, groups, pairs
from lvm_jax.sentences.sources import SingleImages, Source

KINDS: dict[str, type[Source]] = {
    "single": SingleImages,
    "annotation": pairs.ImageAnnotationPairs,
    "colorization": pairs.ColorizationPairs,
    "inpainting": pairs.InpaintingPairs,
    "edges": pairs.EdgePairs,
    "video": clips.Videos,
    "annotated_video": clips.AnnotatedVideos,
    "multiview": clips.MultiView,
    "category": groups.CategoryGroups,
    "multi_annotation": groups.MultiAnnotation,
}
