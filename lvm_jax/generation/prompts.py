"""Images -> prompt: whole images, as many of the last ones as leave room for the answer.

BOS comes first where the model learned sentences that begin with it: its `framing` says so.

Paper: Bai et al. 2023, visual prompting; a sequential prompt is frames in a row, an analogy prompt
is example pairs and then a query.

Legend: N images, K example pairs, T ids per image, P ids of a prompt.
"""

import numpy as np
from absl import logging

from lvm_jax.configs import ConfigError, Field
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.vocabulary import Framing, Vocabulary


def images_that_fit(context: int, tokens_per_image: int, num_new_images: int) -> int:
    """Most prompt images that leave room for `num_new_images` more.

    BOS and all images but for the very last id go through the model, so `context` ids hold
    context // tokens_per_image whole images. Prompts without BOS have as many.

    Raises:
        ValueError: there is no room for one prompt image beside the new ones.
    """
    most = context // tokens_per_image - num_new_images
    if most < 1:
        raise ValueError(
            f"a context of {context} ids holds {context // tokens_per_image} images of "
            f"{tokens_per_image} ids: no room for a prompt beside num_new_images={num_new_images}"
        )
    return most


def check_room(
    context: int, tokens_per_image: int, num_images: int, config: AnswerConfig, where: str = ""
) -> None:
    """Warns of a prompt that loses its oldest images, or refuses it where they must not be dropped.

    Args:
        context: most ids that the model looks at.
        tokens_per_image: ids of an image.
        num_images: of the prompt.
        config: says whether images may be dropped, and how many at a time.
        where: what the messages call the prompt.

    Raises:
        ConfigError: they must not; says how many images fit.
        ValueError: no image, or no room.
    """
    kept = _num_kept(context, tokens_per_image, num_images, 1, config.images_per_example)
    if kept == num_images:
        return
    room = (
        f"{where}{where and ': '}a prompt of {num_images} images does not fit: the model's context "
        f"of {context} ids holds {context // tokens_per_image} images of {tokens_per_image} ids, "
        f"so {kept} of this prompt beside a new one"
    )
    if not config.drop_oldest:
        raise ConfigError(room, "; give fewer images, or set ", Field("drop_oldest"))
    logging.warning("%s: the oldest %d are dropped", room, num_images - kept)


def new_images_at_once(
    context: int, tokens_per_image: int, num_images: int, num_new_images: int
) -> int:
    """How many of the new images are made in one go: those that fit beside all images so far.

    Where the context is full already it is one at a time, each with as many images before it as
    leave it room.
    """
    return max(1, min(num_new_images, context // tokens_per_image - num_images))


def sequential(
    ids_NT: np.ndarray,
    *,
    vocabulary: Vocabulary,
    framing: Framing,
    context: int,
    num_new_images: int = 1,
    images_per_example: int = 1,
) -> np.ndarray:
    """A prompt of images in order, or several of one length.

    Args:
        ids_NT: int code ids [..., N, T], oldest image first.
        vocabulary: gives BOS.
        framing: of the model; says whether BOS comes first.
        context: most ids that the model looks at.
        num_new_images: images that the answer will have.
        images_per_example: when something must go, the oldest images go this many at a time, so
            that an example is never halved.

    Returns:
        int32 [..., 1 + n * T] with BOS first, or [..., n * T] without; n <= N images, the last
        ones.

    Raises:
        ValueError: no image, or no room.
    """
    ids_NT = np.asarray(ids_NT, np.int32)
    *rows, num_images, tokens_per_image = ids_NT.shape
    num_kept = _num_kept(context, tokens_per_image, num_images, num_new_images, images_per_example)
    kept = ids_NT[..., num_images - num_kept :, :].reshape(*rows, -1)
    if not framing.bos:
        return kept
    bos = np.full((*rows, 1), vocabulary.bos, np.int32)
    return np.concatenate([bos, kept], axis=-1)


def _num_kept(
    context: int,
    tokens_per_image: int,
    num_images: int,
    num_new_images: int,
    images_per_example: int,
) -> int:
    """How many of a prompt's images leave room for the new ones, examples being whole."""
    if num_images < 1:
        raise ValueError("a prompt needs at least one image")
    most = images_that_fit(context, tokens_per_image, num_new_images)
    over = max(0, num_images - most)
    dropped = -(-over // images_per_example) * images_per_example
    if dropped >= num_images:
        raise ValueError(
            f"a context of {context} ids has room for {most} prompt images of {tokens_per_image} "
            f"ids, less than one example ({images_per_example} images) and a query"
        )
    return num_images - dropped


def analogy(
    pairs_K2T: np.ndarray,
    query_T: np.ndarray,
    *,
    vocabulary: Vocabulary,
    framing: Framing,
    context: int,
) -> np.ndarray:
    """A prompt of (input, output) examples and a query; the oldest pairs go first, as wholes.

    Args:
        pairs_K2T: int code ids of the example pairs; K may be 0.
        query_T: int code ids of the query.
        vocabulary: gives BOS.
        framing: of the model; says whether BOS comes first.
        context: most ids that the model looks at.

    Returns:
        int32 [1 + (2 * k + 1) * T], k <= K; one less without BOS.

    Raises:
        ValueError: no room for the query and its answer.
    """
    tokens_per_image = len(query_T)
    images_NT = np.concatenate(
        [np.reshape(pairs_K2T, (-1, tokens_per_image)), np.reshape(query_T, (1, -1))]
    )
    return sequential(
        images_NT, vocabulary=vocabulary, framing=framing, context=context, images_per_example=2
    )
