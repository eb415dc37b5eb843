"""Where the pairs that ship and their prompts lie, found without reading parameters.

NAME/model                a model directory, as export_model.py writes it
NAME/tokenizer            its tokenizer
NAME/prompts/*.json       prompt files to try it with, of pictures that it never saw
NAME/prompts/order.txt    in which order a gallery shows them
NAME/MODEL_CARD.md        data, training, measured limits
NAME/ATTRIBUTION.md       whose pictures it learned from, and their terms

`tools/ship_pretrained.py` makes such a folder.
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

from lvm_jax.configs import ConfigError, Field
from lvm_jax.storage import paths

NAMES = ("uvd_mini",)
"""Of the pairs that ship."""
ROOT = pathlib.Path(__file__).resolve().parent
"""The folder of their folders."""
PROMPTS = "prompts"
"""In a pair's folder."""
_CONFIG = "config.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A model and its tokenizer.

    Attributes:
        model, tokenizer: their directories, on a disk or a store.
        prompts: folder of prompt files to try them with; None where there is none.
    """

    model: str
    tokenizer: str
    prompts: str | None = None


def find(name: str) -> Pair:
    """The directories of a pair that ships.

    Args:
        name: one of `NAMES`.

    Raises:
        ValueError: there is none of this name, or this copy of the package came without it.
    """
    if name not in NAMES:
        raise ValueError(f"{name!r} is no pretrained pair; there is {' and '.join(NAMES)}")
    folder = ROOT / name
    for part in ("model", "tokenizer"):
        if not (folder / part / _CONFIG).is_file():
            raise ValueError(
                f"the pretrained pair {name} is not in this copy of lvm_jax: "
                f"{folder / part / _CONFIG} is missing; make it with tools/ship_pretrained.py, or "
                "name a model and a tokenizer of your own"
            )
    return Pair(
        model=str(folder / "model"),
        tokenizer=str(folder / "tokenizer"),
        prompts=str(folder / PROMPTS) if any((folder / PROMPTS).glob("*.json")) else None,
    )


def find_prompt(prompt: str | os.PathLike) -> pathlib.Path:
    """The prompt file of this name that ships, or a file.

    Args:
        prompt: such as emoji_mask, or the path of a file.

    Raises:
        ConfigError: it is neither; lists what ships.
    """
    shipped = {
        file.stem: file for name in NAMES for file in sorted((ROOT / name / PROMPTS).glob("*.json"))
    }
    file = shipped.get(os.fspath(prompt), pathlib.Path(prompt))
    if not file.exists():
        known = f"there are {', '.join(shipped)}" if shipped else "none are in this copy of lvm_jax"
        raise ConfigError(
            Field("prompt"),
            f"={os.fspath(prompt)} is neither a file nor the name of a prompt that ships; {known}",
        )
    return file


def tokenizer_of(model: str) -> str | None:
    """The tokenizer that ships, if it is the one whose ids a model was trained on.

    Args:
        model: a training workdir or a model directory.
    """
    wanted = _config(paths.path(model)).get("tokenizer_fingerprint")
    for name in NAMES if wanted else ():
        tokenizer = ROOT / name / "tokenizer"
        if _config(tokenizer).get("fingerprint") == wanted:
            return str(tokenizer)
    return None


def _config(directory: Any) -> dict[str, Any]:
    """A config.json; nothing where there is none, which whoever reads more of it will say."""
    try:
        content = json.loads((directory / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
