r"""Plans many trainings, and keeps them in one table: every size on every pod, or growing slices.

  python tools/plan_table.py --out=experiments/results/plans.json
  python tools/plan_table.py --out=runs/plans.json --sizes=1b,3b --topologies=v3-512,h200:64
  python tools/plan_table.py --out=experiments/results/weak_scaling.json --weak_scaling

Every plan is the best of one search by tools/plan.py, compiled in a process of its own: a batch of
2.1M tokens and a run of 420B, with the mesh, remat policy and micro-batches that the search picks.
Weak scaling keeps all of these, and 4 rows for each chip, while v5p slices grow from 16 to 512
chips. A plan that the table has is not made again. Beside the table a picture shows it, OUT.png.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import cli
from experiment_files import ROOT

_SIZES = ("100m", "300m", "600m", "1b", "3b", "7b", "13b", "20b", "30b")
_TOPOLOGIES = ("v3-512", "v4-256", "v5p-512", "v5e-256", "v6e-256", "h200:64")
_ROWS, _TOKENS = 512, "420b"
# Chips -> slice; a v5p chip is one device.
_GROWING = {chips: f"v5p-{2 * chips}" for chips in (16, 32, 64, 128, 256, 512)}
_ROWS_PER_CHIP = 4
_FSDP = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which plans.

    Attributes:
        out: JSON file with a row for each plan; what it has is kept.
        sizes: of experiments/lvm.py.
        topologies: hardware, see tools/plan.py.
        weak_scaling: growing slices instead of these topologies; sizes are then 1b and 7b, or what
            --sizes says.
        compile: compile each; --nocompile estimates.
        budget_minutes: no plan begins later.
    """

    out: str
    sizes: tuple[str, ...] = ()
    topologies: tuple[str, ...] = _TOPOLOGIES
    weak_scaling: bool = False
    compile: bool = True
    budget_minutes: float | None = None


def main(options: Options) -> None:
    from lvm_jax import atomic

    begun, out = time.monotonic(), pathlib.Path(options.out)
    rows = json.loads(out.read_text())["plans"] if out.exists() else []
    wanted = _weak(options) if options.weak_scaling else _every(options)
    known = {(row["size"], row["topology"]) for row in rows}
    left = [entry for entry in wanted if (entry[0], entry[1]) not in known]
    for number, (size, topology, flags) in enumerate(left, 1):
        late = time.monotonic() - begun > 60 * (options.budget_minutes or float("inf"))
        if late:
            print(f"time is up; the same command makes the other {len(left) - number + 1}")
            break
        print(f"{number} of {len(left)}: {size} on {topology}", flush=True)
        rows.append({"size": size, "topology": topology, **_plan(size, flags, options)})
        atomic.write_json(out, {"plans": rows}, indent=1, parents=True)
    shown = [row for row in rows if "mfu" in row]
    for row in rows:
        print(_line(row))
    if shown:
        _draw(out.with_suffix(".png"), shown, options.weak_scaling)


def _every(options: Options) -> list[tuple[str, str, list[str]]]:
    """(size, topology, flags of tools/plan.py) of the sizes on each topology."""
    flags = ["--search", "--best=1", f"--config.batch_size={_ROWS}"]
    return [
        (size, topology, [f"--topology={topology}", *flags])
        for size in options.sizes or _SIZES
        for topology in options.topologies
    ]


def _weak(options: Options) -> list[tuple[str, str, list[str]]]:
    fixed = {"accumulation": 1, "loss_chunks": 1, "mesh.fsdp": _FSDP, "model.remat": "full"}
    return [
        (
            size,
            topology,
            [
                f"--topology={topology}",
                f"--config.batch_size={_ROWS_PER_CHIP * chips}",
                f"--config.mesh.data={chips // _FSDP}",
                *(f"--config.{key}={value}" for key, value in fixed.items()),
            ],
        )
        for size in options.sizes or ("1b", "7b")
        for chips, topology in _GROWING.items()
    ]


def _plan(size: str, flags: list[str], options: Options) -> dict[str, Any]:
    """The row of a plan; of one that cannot be made, why."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder, "plan.json")
        command = [sys.executable, str(ROOT / "tools" / "plan.py"), f"--json={made}"]
        command += [
            f"--config={ROOT}/experiments/lvm.py:size={size}",
            f"--tokens={_TOKENS}",
            *flags,
        ]
        command += [] if options.compile else ["--nocompile"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if result.returncode:
            return {"error": result.stderr.strip().rpartition("\n")[2]}
        plan = json.loads(made.read_text())
    return {**_row(plan), "seconds": round(time.monotonic() - begun, 1)}


def _row(plan: dict[str, Any]) -> dict[str, Any]:
    """What a table keeps of a plan; FLOPs and bytes are those of a device and step."""
    memory, bounds = plan["memory"], plan["bounds"]
    kept = ("method", "compiler", "chips", "devices", "mesh", "remat", "accumulation")
    return {
        **{key: plan[key] for key in kept},
        "loss_chunks": plan["loss_chunks"],
        "batch_size": plan["batch_size"],
        "attention": plan["attention"].removeprefix("attention: ").partition(" ")[0],
        "memory_gib": round(
            sum(memory[key] for key in ("arguments", "temporaries", "code")) / 2**30, 2
        ),
        "capacity_gib": round(memory["capacity"] / 2**30, 1),
        "fits": memory["fits"],
        "flops": plan["flops"]["executed"] / plan["devices"],
        "collective_gib": round(sum(move["bytes"] for move in plan["moves"]) / 2**30, 3),
        "limit": bounds["limit"],
        "mfu": round(bounds["mfu"], 4),
        "serial_mfu": round(bounds["serial_mfu"], 4),
        "tokens_per_second": round(bounds["tokens_per_second"]),
        "days": round(bounds["days"], 2),
        "chip_hours": round(bounds["chip_hours"]),
    }


def _line(row: dict[str, Any]) -> str:
    head = f"{row['size']:>5}  {row['topology']:9}"
    if "error" in row:
        return f"{head}  {row['error']}"
    mesh = " ".join(f"{axis}={size}" for axis, size in row["mesh"].items() if size > 1)
    fits = "" if row["fits"] else " DOES NOT FIT"
    return (
        f"{head}  {mesh:28} {row['remat']:11} x{row['accumulation']:<3}"
        f"{row['memory_gib']:7.1f} of {row['capacity_gib']:5.1f} GiB{fits}  "
        f"{row['collective_gib']:7.2f} GiB sent  MFU {row['serial_mfu']:.0%}-{row['mfu']:.0%}  "
        f"{row['days']:6.1f} days  {row['limit']}"
    )


def _draw(path: pathlib.Path, rows: list[dict[str, Any]], weak: bool) -> None:
    """MFU bounds: by size, a line for each topology; or by chips, a line for each size."""
    from matplotlib.figure import Figure

    line, point = ("size", "chips") if weak else ("topology", "size")
    names = list(dict.fromkeys(row[line] for row in rows))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in names:
        own = [row for row in rows if row[line] == name and row["fits"]]
        places = [str(row[point]) for row in own]
        drawn = axes.plot(places, [100 * row["mfu"] for row in own], marker="o", label=name)
        color = drawn[0].get_color()
        axes.plot(places, [100 * row["serial_mfu"] for row in own], "--", color=color, lw=1)
    axes.set(xlabel=point, ylabel="MFU in %: at best, and without overlap (dashed)")
    axes.set_ylim(0)
    axes.grid(axis="y", linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    cli.run(main)
