r"""Turns the VQGAN of another project into a tokenizer directory, or a tokenizer into theirs.

  python tools/convert_tokenizer.py --source=pytorch_model.bin --format=openmuse --out=tokenizer
  python tools/convert_tokenizer.py --source=last.ckpt --format=taming --out=tokenizer
  python tools/convert_tokenizer.py --source=vqvae/ --format=diffusers --out=tokenizer
  python tools/convert_tokenizer.py --source=tokenizer --to=openmuse --out=openmuse

Formats, and the files that their owners write:
  openmuse   safetensors or torch .bin, alone or in a folder with config.json (what LVM ships)
  taming     torch .ckpt of CompVis/taming-transformers, or of a latent diffusion model around one
  llamagen   torch .pt of FoundationVision/LlamaGen
  maskgit    flax msgpack of google-research/maskgit
  lvm_xh     torch .pth of LVM's first demo
  diffusers  folder of a diffusers VQModel: config.json and weights, of old versions too

Each may be any of these files, or .npz, and none needs torch. The network is read wherever its
names all stand: under entries ("state_dict", "model", "ema") and prefixes ("module.",
"_orig_mod.", "first_stage_model."), beside whatever else a trainer saved. Where it stands several
times, running averages are preferred, then what is nearest to the top; --entry chooses. The log
says which it was and what is left out.

The geometry is the published one of the format unless --preset names another, or
a config.json or --source_config spells it in the owner's field names, such as
  --source_config='{"embed_dim": 256, "n_embed": 1024, "ddconfig": {"ch": 128, ...}}'
In any format, "pixel_range" ("zero_one" or "minus_one_one") and "image_size" may be added to it.
"""

import dataclasses
import json
import pathlib
from typing import Literal

from absl import logging

import cli
import source_configs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """A VQGAN of another project, and where it goes.

    Attributes:
        format: which project wrote --source.
        source: weights file or folder.
        source_config: geometry in the owner's field names: a JSON file, or JSON itself; overrides
            config.json.
        preset: geometry by name, such as taming_f16_16384.
        entry: where in --source to read, if the weights are there several times, such as model or
            ema.
        out: directory to write.
        overwrite: replace what --out holds already.
    """

    format: Literal["openmuse", "taming", "llamagen", "maskgit", "lvm_xh", "diffusers"]
    source: str
    source_config: str | None = None
    preset: str | None = None
    entry: str | None = None
    out: str
    overwrite: bool = False

    def __post_init__(self) -> None:
        _require_two_places(self.source, self.out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """A tokenizer, and the format in which it is written.

    Attributes:
        to: write the tokenizer --source in this format.
        source: directory of a tokenizer.
        out: directory to write.
        overwrite: replace what --out holds already.
    """

    to: Literal["openmuse", "diffusers"]
    source: str
    out: str
    overwrite: bool = False

    def __post_init__(self) -> None:
        _require_two_places(self.source, self.out)


def _require_two_places(source: str, out: str) -> None:
    if pathlib.Path(out).resolve() == pathlib.Path(source).resolve():
        raise ValueError(f"--out={out} is --source; give another directory")


def convert(options: Conversion) -> None:
    """Another project's weights -> a tokenizer directory."""
    source_config = source_configs.read(options.source_config)
    from lvm_jax import trees
    from lvm_jax.tokenizer import codec, weights

    config, params = weights.read_weights(
        options.source,
        options.format,
        source_config=source_config,
        preset=options.preset,
        entry=options.entry,
    )
    fingerprint = codec.fingerprint(config, params)
    refuse_other_files(options, fingerprint)
    codec.save_tokenizer(options.out, config, params)
    logging.info(
        "%s: %d ids of %d codes for a %d-pixel image, %s parameters",
        options.out,
        config.tokens_per_image,
        config.num_codes,
        config.image_size,
        f"{trees.count_parameters(params):,}",
    )
    logging.info("fingerprint %s", fingerprint)


def export(options: Export) -> None:
    """A tokenizer directory -> another project's folder."""
    from lvm_jax import trees
    from lvm_jax.tokenizer import codec, weights

    tokenizer = codec.load_tokenizer(options.source)
    refuse_other_files(options, None)
    weights.write_weights(options.out, options.to, tokenizer.config, tokenizer.params)
    logging.info(
        "%s: config.json, %s, %s parameters, from fingerprint %s",
        options.out,
        " and ".join(weights.EXPORT_FILES[options.to]),
        f"{trees.count_parameters(tokenizer.params):,}",
        tokenizer.fingerprint,
    )
    if "pixel_range" in weights.to_format(options.to, tokenizer.config, tokenizer.params)[0]:
        logging.warning(
            "this network takes pixels as %s, not as %s's own models do; config.json says so in "
            "pixel_range, which only this tool reads",
            tokenizer.config.pixel_range,
            options.to,
        )


def refuse_other_files(options: Conversion | Export, fingerprint: str | None) -> None:
    """Refuses a directory that holds anything but the same tokenizer, unless --overwrite."""
    directory = pathlib.Path(options.out)
    if options.overwrite or not directory.exists():
        return
    if not directory.is_dir():
        raise ValueError(f"--out={directory} is a file; give a directory")
    if not any(directory.iterdir()):
        return
    try:
        content = json.loads((directory / "config.json").read_text())
        stored = content.get("fingerprint")
    except (OSError, ValueError, AttributeError):
        stored = None
    if stored is None or stored != fingerprint:
        what = f"tokenizer {stored[:12]}" if isinstance(stored, str) else "other files"
        raise ValueError(
            f"--out={directory} holds {what} already; give another directory, or --overwrite"
        )


if __name__ == "__main__":
    cli.run({"--format": convert, "--to": export})
