"""What tables of plans look like in pictures and in Markdown, see tools/plan_table.py."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = 4
_TERA = 1e12
Row = Mapping[str, Any]


def draw_sizes(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """A panel for each topology: MFU by size, from no overlap to the bound.

    Args:
        path: of a PNG.
        rows: of a table, none with an error.
    """
    from matplotlib.figure import Figure

    topologies = list(dict.fromkeys(row["topology"] for row in rows))
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    columns = min(_COLUMNS, len(topologies))
    lines = math.ceil(len(topologies) / columns)
    figure = Figure(figsize=(2.8 * columns + 0.6, 2.2 * lines + 0.8), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for panel, topology in zip(panels.flat, topologies):
        own = [row for row in rows if row["topology"] == topology and row["fits"]]
        for row in own:
            place = sizes.index(row["size"])
            color = "C0" if row["method"] == "compiled" else "0.6"
            ends = [100 * row["serial_mfu"], 100 * row["mfu"]]
            panel.plot([place, place], ends, color=color, lw=6, solid_capstyle="butt")
            share = f"{row['memory_share']:.0%}"
            panel.annotate(share, (place, ends[1] + 2), ha="center", fontsize=5.5, color=color)
        panel.set_title(topology, fontsize=9)
        panel.set_ylim(0, 105)
        panel.set_xticks(range(len(sizes)), sizes, rotation=60, fontsize=7)
        panel.grid(axis="y", linewidth=0.5)
        panel.set_axisbelow(True)
    for panel in panels.flat[len(topologies) :]:
        panel.set_axis_off()
    figure.supylabel("MFU in %: without overlap to at best", fontsize=9)
    figure.suptitle(
        "blue: compiled, grey: estimated; above each bar its share of memory; none: does not fit",
        fontsize=9,
    )
    figure.savefig(path, dpi=130)


def draw_growing(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """A panel for each of FLOPs, bytes of memory and bytes sent per chip, by chips.

    Args:
        path: of a PNG.
        rows: of a table of growing slices, none with an error.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    shares = {
        "TFLOP": lambda share: share["flops"] / _TERA,
        "GiB to and from memory": lambda share: share["memory_bytes"] / 2**30,
        "GiB sent": lambda share: sum(share["moves"].values()) / 2**30,
    }
    for panel, (title, value) in zip(figure.subplots(1, len(shares)), shares.items()):
        for size in dict.fromkeys(row["size"] for row in rows):
            own = [row for row in rows if row["size"] == size]
            chips = [row["chips"] for row in own]
            guessed = sum(row["method"] != "compiled" for row in own)
            label = f"{size}, {guessed} of {len(own)} estimated" if guessed else size
            panel.plot(chips, [value(row["per_chip"]) for row in own], marker="o", label=label)
            panel.set_xscale("log", base=2)
            panel.set_xticks(chips, [str(number) for number in chips])
        panel.set_title(f"{title} per chip and step", fontsize=9)
        panel.set_xlabel("v5p chips")
        panel.set_ylim(0)
        panel.grid(axis="y", linewidth=0.5)
        panel.legend(frameon=False)
    figure.savefig(path, dpi=130)


def markdown(rows: Sequence[Row], topologies: Sequence[str]) -> str:
    """A line for each size, a column for each topology; what was estimated has a *.

    Args:
        rows: of a table, none with an error.
        topologies: those to show.
    """
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    cells = {(row["size"], row["topology"]): _cell(row) for row in rows}
    lines = [["", *topologies], ["---"] * (len(topologies) + 1)]
    lines += [[size, *(cells.get((size, name), "") for name in topologies)] for size in sizes]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row) -> str:
    mark = "" if row["method"] == "compiled" else "*"
    if not row["fits"]:
        return f"needs {row['memory_share']:.0%}{mark}"
    mesh, micro = row["mesh"], row["accumulation"]
    tensor = f" x {mesh['tensor']}" if mesh["tensor"] > 1 else ""
    count = f", {micro} parts" if micro > 1 else ""
    mfu = f"{100 * row['serial_mfu']:.0f}-{row['mfu']:.0%}"
    days = f"{row['days']:.1f}-{row['serial_days']:.1f}"
    head = f"{mesh['data']} x {mesh['fsdp']}{tensor}{count}"
    return f"{head}: {row['memory_share']:.0%}, {mfu}, {days}{mark}"
