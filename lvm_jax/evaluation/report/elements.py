"""The elements that the report's page is made of, as HTML text."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lvm_jax import images


def text(value: Any) -> str:
    """A value with the signs of HTML escaped."""
    return html.escape(str(value))


def picture(pixels: np.ndarray) -> str:
    """uint8 [H, W, 3] as a PNG inside the page."""
    data = base64.b64encode(images.encode_png(pixels)).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'


def row(pictures: Iterable[np.ndarray]) -> str:
    """Pictures beside one another."""
    return f'<span class="row">{"".join(map(picture, pictures))}</span>'


def figure(title: str, svg: str, note: str = "") -> str:
    """A chart on a card, with what it says under it."""
    caption = f"<figcaption>{text(note)}</figcaption>" if note else ""
    return f'<figure class="card"><h3>{text(title)}</h3>{svg}{caption}</figure>'


def number_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of numbers; heads are text, cells are HTML."""
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="numbers"><tr>{head}</tr>{body}</table>'
