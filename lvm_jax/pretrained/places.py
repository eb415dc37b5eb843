"""Where the pairs that ship lie, found without reading their parameters.

NAME/model                a model directory, as export_model.py writes it
NAME/tokenizer            its tokenizer
NAME/MODEL_CARD.md        data, training, measured limits
NAME/ATTRIBUTION.md       whose pictures it learned from, and their terms

`tools/ship_pretrained.py` makes such a folder.
"""

import dataclasses
import json
import pathlib
from typing import Any

from lvm_jax.storage import paths

NAMES = ("uvd_mini",)
"""Of the pairs that ship."""
ROOT = pathlib.Path(__file__).resolve().parent
"""The folder of their folders."""
_CONFIG = "config.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A model and its tokenizer.

    Attributes:
        model, tokenizer: their directories, on a disk or a store.
    """

    model: str
    tokenizer: str


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
    return Pair(model=str(folder / "model"), tokenizer=str(folder / "tokenizer"))


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
