"""Every kind of sentence by the name that a config gives it: a layout, and in pairs a relation.

Single images; pairs, of which one is given or computed: annotations from a folder, colors, holes,
edges, what pictures lose (blur, noise, light, rain, rotation, resolution), drawings of a COCO-style
file (boxes, keypoints, segments) and label maps; clips: videos, annotated videos, views around an
object; groups: classes, several annotations of an image.
"""

from lvm_jax.sentences import clip_layouts, layouts, relations, restoration
from lvm_jax.sentences.coco.boxes import Boxes
from lvm_jax.sentences.coco.keypoints import Keypoints
from lvm_jax.sentences.coco.segmentation import Segmentation
from lvm_jax.sentences.relations import Derived
from lvm_jax.sentences.sources import Source, make_kind

KINDS: dict[str, type[Source]] = {}


def add(name: str, layout: type[layouts.Layout], **parts: type) -> None:
    """Adds a kind of sentence; arguments as `sources.make_kind`.

    Raises:
        ValueError: there is one of this name.
    """
    if name in KINDS:
        raise ValueError(f"there is a kind of sentence called {name}; choose another name")
    made = KINDS[name] = make_kind(name, layout, **parts)
    # Where pickle looks for the class, so that other processes can be given sources.
    made.__module__ = __name__
    globals()[made.__name__] = made


def add_relation(relation: type[Derived]) -> None:
    """Adds pairs of a picture and what a function makes of it; see `relations.Derived`.

    Raises:
        ValueError: there is a kind of this name.
    """
    add(relation.name, layouts.Pairs, relation=relation)


add("single", layouts.Single)
add("annotation", layouts.Pairs, relation=relations.Annotation)
for _relation in (*relations.RELATIONS, *restoration.RELATIONS):
    add_relation(_relation)
add("boxes", layouts.Pairs, relation=Boxes)
add("keypoints", layouts.Pairs, relation=Keypoints)
add("segmentation", layouts.Pairs, relation=Segmentation)
add("label_map", layouts.Pairs, relation=relations.LabelMap)
add("video", clip_layouts.Frames)
add("annotated_video", clip_layouts.AnnotatedFrames)
add("multiview", clip_layouts.Views)
add("category", layouts.Group)
add("multi_annotation", layouts.Tuples)
