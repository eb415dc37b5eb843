"""picture, drawing, picture, drawing, ...: what drawings of a COCO-style file share."""

import dataclasses
from typing import ClassVar

from lvm_jax.draws import Draws
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.sentences.coco.drawn import Chosen, DrawnPicture, DrawnPictures, Shapes
from lvm_jax.sentences.coco.turns import Coordinates
from lvm_jax.sentences.listings import Listing
from lvm_jax.sentences.relations import Relate
from lvm_jax.sentences.squares import Parameters, Square


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """picture, drawing, picture, drawing, ...: from a COCO-style file.

    Annotations that show nothing on the whole of their picture are left out and counted in the log,
    by reason; so are pictures of which there is nothing to draw. What lies outside of the square
    that a sentence takes of a picture still counts.

    Class attributes:
        drawing: name in `drawings.DRAWINGS`.

    Attributes:
        annotations: the JSON file; its file names are relative to `folder`.
        categories: names of those that are drawn; empty takes all. The order decides the colors;
            all of the file's, by rising id, if empty.
        coordinates: what they refer to where the orientation tag of a picture turns or mirrors it:
            "upright", the picture as it is shown, or "stored", its pixels as they lie in the file.
            Sizes that say otherwise are refused, and a warning names pictures whose size cannot
            tell. In a stored picture that is mirrored, left and right joints change places.
    """

    drawing: ClassVar[str]

    annotations: str
    categories: tuple[str, ...] = ()
    coordinates: Coordinates = "upright"

    def shapes(self, chosen: Chosen) -> Shapes:
        """What is drawn of a file."""
        raise NotImplementedError

    def parameters(self, item: DrawnPicture) -> Parameters:
        """Of the drawing, besides its shapes."""
        return (("num_labels", item.num_labels),)

    @property
    def listing(self) -> Listing:
        return DrawnPictures(
            annotations=self.annotations,
            categories=self.categories,
            coordinates=self.coordinates,
            drawing=self.drawing,
            shapes=self.shapes,
        )

    def start(self, draws: Draws) -> Relate:
        """See `Relation`."""
        return self._relate

    def _relate(self, item: DrawnPicture, square: Square) -> tuple[ImageRef, ImageRef]:
        shapes = item.mirrored if square.flip else item.shapes
        parameters = (("shapes", shapes), *self.parameters(item))
        return (
            square.of(item.path, shape=item.shape),
            square.of(item.path, shape=item.shape, derivation=self.drawing, parameters=parameters),
        )
