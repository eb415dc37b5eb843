"""The elements that pages are made of, as HTML text."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lvm_jax import images
from lvm_jax.pages.style import CSS


def text(value: Any) -> str:
    """A value with the signs of HTML escaped."""
    return html.escape(str(value))


def document(title: str, body: str) -> str:
    """A whole page; the title is text, the body HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def header(eyebrow: str, headline: str, lead: str, tiles: Iterable[tuple[str, str]]) -> str:
    """What leads a page: a small line, its result, a paragraph, and numbers with what they are."""
    cells = "".join(
        f'<div class="tile"><b>{text(number)}</b><span>{text(what)}</span></div>'
        for number, what in tiles
    )
    return (
        f'<header><p class="eyebrow">{text(eyebrow)}</p><h1>{text(headline)}</h1>'
        f'<p>{text(lead)}</p><div class="tiles">{cells}</div></header>'
    )


def facts(title: str, values: Mapping[str, Any]) -> str:
    """Names and values on a card."""
    rows = "".join(
        f"<tr><td>{text(name)}</td><td>{text(value)}</td></tr>" for name, value in values.items()
    )
    return (
        f'<section class="card"><h3>{text(title)}</h3><table class="facts">{rows}</table></section>'
    )


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
