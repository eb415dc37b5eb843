"""Drawings as inline SVG that takes its colours from the page, so that it suits light and dark."""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Stand-ins that become CSS variables of the page once matplotlib has drawn them.
INK, FAINT = "#010203", "#040506"
SERIES = tuple(f"#0a0b0{number}" for number in range(1, 9))
_VARIABLES = {INK: "--muted", FAINT: "--line"} | {
    color: f"--series-{number}" for number, color in enumerate(SERIES, 1)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: the page's font, and it can be selected
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextlib.contextmanager
def styled(name: str) -> Iterator[None]:
    """A block that draws; ids inside the SVG follow from the name, the same in every run."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        yield


def svg(figure: Figure, title: str) -> str:
    """A figure as an SVG element, drawn inside `styled`; the title is for who cannot see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    # Its size comes from the page; what it shows is said to those who cannot see it.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
