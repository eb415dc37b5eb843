"""A plan as text for a terminal."""

from collections.abc import Iterable, Sequence

from lvm_jax.planning.plan import Bounds, MemoryUse, Plan

_BAR = 40


def text(plan: Plan) -> str:
    """The whole report."""
    parts = [_head(plan), memory(plan.memory), _moves(plan)]
    if plan.bounds is not None:
        parts += [_bounds(plan, plan.bounds), _run(plan, plan.bounds)]
    if plan.advice:
        parts.append("\n".join(["advice", *(f"  - {line}" for line in plan.advice)]))
    return "\n\n".join(parts)


def gib(num_bytes: float) -> str:
    """2684354560 -> "2.50 GiB"."""
    return f"{num_bytes / 2**30:,.2f} GiB"


def _head(plan: Plan) -> str:
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items() if size > 1)
    if plan.method == "compiled":
        how = f"compiled by {plan.compiler} in {plan.seconds['compile']:.0f} s"
    else:
        how = f"ESTIMATED, nothing was compiled ({plan.compiler}); FLOPs are counted in the jaxpr"
    split = f"{plan.accumulation} micro-batches" if plan.accumulation > 1 else "no accumulation"
    return "\n".join(
        [
            f"{plan.name}: {_short(plan.parameters)} parameters",
            f"  on     {plan.description}",
            f"  how    {how}",
            f"  mesh   {mesh or 'one device'}",
            f"  step   {plan.batch_size} rows x {plan.context:,} ids = "
            f"{_short(plan.tokens_per_step)} tokens; {split}, loss_chunks {plan.loss_chunks}",
            f"  model  remat {plan.remat}, {plan.dtype}",
            f"         {plan.attention}",
        ]
    )


def memory(use: MemoryUse, device: str = "device") -> str:
    """What a device's memory holds, line by line; `device` is what to call it."""
    lines = [
        f"memory of a {device}: {gib(use.needed)}" + _verdict(use),
        f"  arguments    {gib(use.arguments):>12}   state and batch",
        f"  temporaries  {gib(use.temporaries):>12}   activations, gradients, gathered weights",
    ]
    if use.code:
        lines.append(f"  program      {gib(use.code):>12}")
    lines.append(f"  in use       {gib(use.peak):>12}   at most, at one time")
    if use.problem:
        lines.append(f"  the compiler: {use.problem}")
    return "\n".join(lines)


def _verdict(memory: MemoryUse) -> str:
    if not memory.capacity:
        return ""
    share = memory.needed / memory.capacity
    word = "fits" if memory.fits else "DOES NOT FIT"
    return f" of {gib(memory.capacity)}: {word}  [{bar(share)}] {share:.0%}"


def bar(share: float, width: int = _BAR) -> str:
    """0.25 -> "##......"; more than one overflows with "!"."""
    filled = min(round(share * width), width)
    return "#" * filled + "." * (width - filled) + ("!" if share > 1 else "")


def _moves(plan: Plan) -> str:
    if not plan.moves:
        return "collectives: none"
    rows = [
        (
            move.kind if move.form == "plain" else f"{move.kind} ({move.form})",
            ", ".join(move.axes),
            f"{move.count:,}",
            f"{move.bytes / 2**30:,.3f}",
            f"{move.seconds:.3f}" if plan.bounds else "",
        )
        for move in plan.moves
    ]
    title = "collectives of a device in a step"
    return f"{title}\n" + table(("kind", "over", "count", "GiB", "seconds"), rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text, the first two to the left, indented."""
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    spell = lambda line: "  ".join(
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths))
    )
    return "\n".join(f"  {spell(line)}".rstrip() for line in lines)


def _bounds(plan: Plan, bounds: Bounds) -> str:
    executed, model = plan.flops["executed"], plan.flops["model"]
    longest = max(bounds.compute_seconds, bounds.memory_seconds, bounds.network_seconds)
    rows = [
        f"  {name:8} {seconds:9.3f} s  {'#' * max(round(_BAR * seconds / longest), 1)}"
        for name, seconds in (
            ("compute", bounds.compute_seconds),
            ("memory", bounds.memory_seconds),
            ("network", bounds.network_seconds),
        )
    ]
    return "\n".join(
        [
            f"bounds of a step: {executed:.3g} FLOPs, {executed / model:.2f} x the model's "
            f"{model:.3g}",
            *rows,
            f"  limited by {bounds.limit}: at best {bounds.best_seconds:.3f} s (all at once), "
            f"{bounds.serial_seconds:.3f} s one after another",
            f"  MFU at most {bounds.mfu:.1%}, {bounds.serial_mfu:.1%} without overlap; "
            f"{_short(bounds.tokens_per_second)} tokens/s at best",
        ]
    )


def _run(plan: Plan, bounds: Bounds) -> str:
    line = (
        f"run of {_short(plan.tokens)} tokens, {plan.steps:,} steps: {bounds.days:.1f} to "
        f"{bounds.serial_days:.1f} days, {bounds.chip_hours:,.0f} to "
        f"{bounds.serial_chip_hours:,.0f} chip-hours"
    )
    if bounds.cost is None or bounds.serial_cost is None:
        return f"{line} (--price says what they cost)"
    return f"{line}, cost {bounds.cost:,.0f} to {bounds.serial_cost:,.0f}"


def _short(number: float) -> str:
    for scale, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= scale:
            return f"{number / scale:.3g}{unit}"
    return f"{number:.3g}"


def ranking(plans: Sequence[Plan]) -> str:
    """Plans side by side, the best first."""
    rows = []
    for number, plan in enumerate(plans, 1):
        mesh = " ".join(f"{axis}={size}" for axis, size in plan.mesh.items() if size > 1)
        bounds = plan.bounds
        rows.append(
            (
                f"{number}. {mesh or 'one device'}",
                plan.remat,
                str(plan.accumulation),
                str(plan.loss_chunks),
                gib(plan.memory.needed) + ("" if plan.memory.fits else " DOES NOT FIT"),
                f"{bounds.best_seconds:.3f}-{bounds.serial_seconds:.3f}" if bounds else "",
                f"{bounds.serial_mfu:.1%}-{bounds.mfu:.1%}" if bounds else "",
                bounds.limit if bounds else "",
            )
        )
    heads = ("mesh", "remat", "micro-batches", "loss chunks", "memory", "s a step", "MFU", "limit")
    return "candidates, best first\n" + table(heads, rows)
