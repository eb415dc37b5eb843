"""What the docstring of a dataclass says about each of its fields."""

import inspect
import re


def about(cls: type) -> str:
    """The first sentence of a class's docstring."""
    return first_sentence(cls.__doc__ or "")


def of_fields(cls: type) -> dict[str, str]:
    """Field -> what the "Attributes:" of its class, or of one that it inherits, say: one line."""
    texts: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        texts |= _attributes(inspect.cleandoc(each.__dict__.get("__doc__") or ""))
    return texts


def _attributes(text: str) -> dict[str, str]:
    _, _, section = text.partition("\nAttributes:\n")
    section = re.split(r"\n(?=\S)", section)[0]  # up to the next section
    texts = {}
    for entry in re.split(r"\n(?= {4}\S)", "\n" + section)[1:]:
        names, _, line = " ".join(entry.split()).partition(": ")
        texts |= dict.fromkeys(names.split(", "), line)
    return texts


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence, in one line."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z\"`])", " ".join(text.split()), maxsplit=1)[0]
