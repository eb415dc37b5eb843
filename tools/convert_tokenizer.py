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

import json
import pathlib
from typing import Any

import cli
from absl import flags, logging

FORMATS = ("openmuse", "taming", "llamagen", "maskgit", "lvm_xh", "diffusers")

SOURCE = flags.DEFINE_string("source", None, "Weights file or folder; with --to, a tokenizer.")
FORMAT = flags.DEFINE_enum("format", None, FORMATS, "Which project wrote --source.")
SOURCE_CONFIG = flags.DEFINE_string(
    "source_config",
    None,
    "Geometry in the owner's field names: a JSON file, or JSON itself; overrides config.json.",
)
PRESET = flags.DEFINE_string("preset", None, "Geometry by name, such as taming_f16_16384.")
ENTRY = flags.DEFINE_string(
    "entry",
    None,
    "Where in --source to read, if the weights are there several times, such as model or ema.",
)
TO = flags.DEFINE_enum(
    "to", None, ["openmuse", "diffusers"], "Write a tokenizer in this format instead."
)
OUT = flags.DEFINE_string("out", None, "Directory to write.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what --out holds already.")
flags.mark_flags_as_required(["source", "out"])


def main() -> None:
    if (FORMAT.value is None) == (TO.value is None):
        raise ValueError("give either --format (what to read) or --to (what to write)")
    if TO.value:
        for flag in (SOURCE_CONFIG, PRESET, ENTRY):
            if flag.value is not None:
                raise ValueError(f"--{flag.name} is for reading with --format, not for --to")
    if pathlib.Path(OUT.value).resolve() == pathlib.Path(SOURCE.value).resolve():
        raise ValueError(f"--out={OUT.value} is --source; give another directory")
    if TO.value:
        export()
    else:
        convert()


def convert() -> None:
    """Another project's weights -> a tokenizer directory."""
    source_config = read_source_config()
    from lvm_jax import trees
    from lvm_jax.tokenizer import codec, weights

    config, params = weights.read_weights(
        SOURCE.value,
        FORMAT.value,
        source_config=source_config,
        preset=PRESET.value,
        entry=ENTRY.value,
    )
    fingerprint = codec.fingerprint(config, params)
    refuse_other_files(pathlib.Path(OUT.value), fingerprint)
    codec.save_tokenizer(OUT.value, config, params)
    logging.info(
        "%s: %d ids of %d codes for a %d-pixel image, %s parameters",
        OUT.value,
        config.tokens_per_image,
        config.num_codes,
        config.image_size,
        f"{trees.count_parameters(params):,}",
    )
    logging.info("fingerprint %s", fingerprint)


def export() -> None:
    """A tokenizer directory -> another project's folder."""
    from lvm_jax import trees
    from lvm_jax.tokenizer import codec, weights

    tokenizer = codec.load_tokenizer(SOURCE.value)
    refuse_other_files(pathlib.Path(OUT.value), None)
    weights.write_weights(OUT.value, TO.value, tokenizer.config, tokenizer.params)
    logging.info(
        "%s: config.json, %s, %s parameters, from fingerprint %s",
        OUT.value,
        " and ".join(weights.EXPORT_FILES[TO.value]),
        f"{trees.count_parameters(tokenizer.params):,}",
        tokenizer.fingerprint,
    )
    if "pixel_range" in weights.to_format(TO.value, tokenizer.config, tokenizer.params)[0]:
        logging.warning(
            "this network takes pixels as %s, not as %s's own models do; config.json says so in "
            "pixel_range, which only this tool reads",
            tokenizer.config.pixel_range,
            TO.value,
        )


def read_source_config() -> dict[str, Any] | None:
    """The JSON object that --source_config names or is."""
    text = SOURCE_CONFIG.value
    if text is None:
        return None
    label = "--source_config"
    try:
        if not text.lstrip().startswith("{"):
            label = f"--source_config={text}"
            text = pathlib.Path(text).read_text()
        values = json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{label} must be JSON or a file of it: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{label} must be a JSON object")
    return values


def refuse_other_files(directory: pathlib.Path, fingerprint: str | None) -> None:
    """Refuses a directory that holds anything but the same tokenizer, unless --overwrite."""
    if OVERWRITE.value or not directory.exists():
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
    cli.run(main)
