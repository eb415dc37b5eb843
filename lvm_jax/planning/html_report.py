"""A plan as a page: what memory is for, where a step's time goes, the roofline."""

import pathlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from lvm_jax import atomic
from lvm_jax.pages.drawing import INK, SERIES, styled, svg
from lvm_jax.pages.elements import document, facts, figure, header, number_table, text
from lvm_jax.planning import chips, topologies
from lvm_jax.planning.plan import Bounds, Plan
from lvm_jax.planning.text_report import gib

_GIB = 2**30


def write(path: pathlib.Path, plan: Plan) -> None:
    """Writes the page; it appears under its name only when whole.

    Raises:
        atomic.WriteError: the disk is full or read-only.
    """
    atomic.write_text(path, render(plan), parents=True)


def render(plan: Plan) -> str:
    """The page as HTML text."""
    figures = [figure("Memory of a device", _memory(plan), _memory_note(plan))]
    if plan.bounds is not None:
        figures += [
            figure("Seconds of a step", _times(plan.bounds), _times_note(plan.bounds)),
            figure("Roofline", _roofline(plan, plan.bounds), _ROOFLINE_NOTE),
        ]
    body = "".join(
        [
            _header(plan),
            _advice(plan),
            f'<h2>Limits</h2><div class="columns">{"".join(figures)}</div>',
            f"<h2>Network</h2>{_moves(plan)}",
            f'<h2>What was planned</h2><div class="columns">{_facts(plan)}</div>',
        ]
    )
    return document(f"Plan: {plan.name} on {plan.topology}", body)


def _header(plan: Plan) -> str:
    memory, bounds = plan.memory, plan.bounds
    verdict = "It fits" if memory.fits else "It does not fit"
    tiles = [(gib(memory.needed), f"of {gib(memory.capacity)} on each device")]
    if bounds is not None:
        verdict += f"; {bounds.limit} limits it"
        tiles += [
            (f"{bounds.mfu:.0%}", f"MFU at most; {bounds.serial_mfu:.0%} without overlap"),
            (f"{bounds.days:.1f} days", f"at best; {bounds.serial_days:.1f} without overlap"),
            (f"{bounds.chip_hours:,.0f}", "chip-hours at best"),
        ]
        if bounds.cost is not None:
            tiles.append((f"{bounds.cost:,.0f}", "cost at best"))
    how = (
        f"Compiled by {plan.compiler} for {plan.description}."
        if plan.method == "compiled"
        else f"Estimated from sizes for {plan.description}; nothing was compiled."
    )
    lead = f"{how} Times are bounds: kernels that are slower than the hardware add to them."
    return header(f"{plan.name} on {plan.topology}", f"{verdict}.", lead, tiles)


def _advice(plan: Plan) -> str:
    if not plan.advice:
        return ""
    lines = "".join(f"<li>{text(line)}</li>" for line in plan.advice)
    return f'<h2>What to change</h2><section class="card"><ul>{lines}</ul></section>'


def _memory(plan: Plan) -> str:
    memory = plan.memory
    with styled("memory"):
        drawing = Figure(figsize=(5.2, 1.9), layout="constrained")
        axes = drawing.subplots()
        left = 0.0
        parts = {
            "arguments": memory.arguments,
            "temporaries": memory.temporaries,
            "program": memory.code,
        }
        for (label, size), color in zip(parts.items(), SERIES):
            if not size:
                continue
            axes.barh(0, size / _GIB, left=left, color=color, height=0.5, label=label)
            left += size / _GIB
        if memory.capacity:
            axes.axvline(memory.capacity / _GIB, color=INK, linewidth=1.5, label="capacity")
        axes.set(xlabel="GiB", yticks=[], ylim=(-0.4, 0.4))
        # Above the line of the capacity, wherever that is.
        axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        return svg(drawing, "Memory of a device")


def _memory_note(plan: Plan) -> str:
    memory = plan.memory
    if memory.problem:
        return memory.problem
    return (
        f"The state and the batch are arguments; activations, gradients and gathered weights are "
        f"temporaries. At most {gib(memory.peak)} are in use at one time."
    )


def _times(bounds: Bounds) -> str:
    names = ("compute", "memory", "network")
    seconds = (bounds.compute_seconds, bounds.memory_seconds, bounds.network_seconds)
    with styled("times"):
        drawing = Figure(figsize=(5.2, 1.9), layout="constrained")
        axes = drawing.subplots()
        axes.barh(names[::-1], seconds[::-1], color=SERIES[:3][::-1], height=0.6)
        axes.set(xlabel="seconds, each alone")
        axes.grid(axis="x", linewidth=0.6)
        axes.set_axisbelow(True)
        return svg(drawing, "Seconds of a step")


def _times_note(bounds: Bounds) -> str:
    return (
        f"All at once: {bounds.best_seconds:.3f} s. One after another: "
        f"{bounds.serial_seconds:.3f} s. A real step lies between, or beyond."
    )


_ROOFLINE_NOTE = (
    "What a device can do at each number of FLOPs per byte of its memory; the point is this step, "
    "at its bound of compute and memory alone."
)


def _roofline(plan: Plan, bounds: Bounds) -> str:
    peak = chips.chip(topologies.parse(plan.topology).device_kind).peak
    executed = plan.flops["executed"] / plan.devices
    moved = bounds.memory_seconds * peak.bandwidth
    intensity = executed / moved
    ridge = peak.flops / peak.bandwidth
    x = np.array([min(intensity, ridge) / 8, ridge, max(intensity, ridge) * 8])
    reached = min(peak.flops, intensity * peak.bandwidth)
    with styled("roofline"):
        drawing = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = drawing.subplots()
        axes.loglog(x, np.minimum(peak.flops, x * peak.bandwidth) / 1e12, color=INK, linewidth=1.4)
        axes.plot([intensity], [reached / 1e12], "o", color=SERIES[0], ms=7, label="this step")
        at_best = executed / bounds.best_seconds / 1e12
        axes.plot([intensity], [at_best], "o", color=SERIES[1], ms=5, label="with its network")
        axes.set(xlabel="FLOPs per byte", ylabel="TFLOP/s of a device")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter("")
        axes.grid(linewidth=0.6)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
        return svg(drawing, "Roofline")


def _moves(plan: Plan) -> str:
    rows = [
        (
            text(move.kind if move.form == "plain" else f"{move.kind} ({move.form})"),
            text(", ".join(move.axes)),
            f"{move.count:,}",
            f"{move.bytes / _GIB:,.3f}",
            f"{move.seconds:.3f}",
        )
        for move in plan.moves
    ]
    if not rows:
        return '<p class="muted">Nothing is sent.</p>'
    heads = ("collective", "over", "count", "GiB", "seconds")
    return f'<section class="card scroll">{number_table(heads, rows)}</section>'


def _facts(plan: Plan) -> str:
    return facts(
        "Training",
        {
            "parameters": f"{plan.parameters:,}",
            "step": f"{plan.batch_size} rows x {plan.context:,} ids",
            "run": f"{plan.tokens:,.0f} tokens, {plan.steps:,} steps",
            "remat": plan.remat,
            "accumulation": plan.accumulation,
            "loss_chunks": plan.loss_chunks,
            "precision": plan.dtype,
            "attention": plan.attention.removeprefix("attention: "),
        },
    ) + facts(
        "Hardware",
        {
            "topology": plan.description,
            "mesh": " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items()),
            "how": f"{plan.method}; {plan.compiler}",
            "FLOPs of a step": f"{plan.flops['executed']:.3g}, of the model "
            f"{plan.flops['model']:.3g}",
        },
    )
