"""What another project says of a network's sizes, given by hand."""

import json
import pathlib
from typing import Any


def read(text: str | None) -> dict[str, Any] | None:
    """The JSON object that --source_config names or is; None where it is not given.

    Raises:
        ValueError: it is no JSON object, or no file of one.
    """
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
