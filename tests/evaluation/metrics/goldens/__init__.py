"""Numbers of other people's code on `real_pictures`; `make_goldens.py` says which."""

import hashlib
import json
import pathlib
from typing import Any

FILE = pathlib.Path(__file__).with_name("goldens.json")


def golden(name: str) -> dict[str, Any]:
    """What was measured for one metric, by name; null stands for nan."""
    return json.loads(FILE.read_text(), object_hook=_with_nan)[name]


def shortened(drawn: list[Any]) -> dict[str, Any]:
    """A long list: its first items, and a digest of all."""
    return {"first": drawn[:5], "sha256": hashlib.sha256(json.dumps(drawn).encode()).hexdigest()}


def _with_nan(content: dict[str, Any]) -> dict[str, Any]:
    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(item) for item in value]
        return float("nan") if value is None else value

    return {key: fill(value) for key, value in content.items()}
