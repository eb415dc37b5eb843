r"""Plans many trainings, and keeps them in one table: every size on every pod, or growing slices.

  python tools/plan_table.py --out=experiments/results/plans.json \
      --recommend=experiments/lvm_topologies.json --markdown
  python tools/plan_table.py --out=runs/plans.json --sizes=1b,3b --topologies=v3-512,h200:64
  python tools/plan_table.py --out=experiments/results/weak_scaling.json --weak_scaling

Every plan is the best of a search by tools/plan.py, compiled in a process of its own: a batch of
2.1M tokens and a run of 420B, with the mesh, remat policy and micro-batches that the search picks,
the first in its order that the compiler fits into 90% of the memory. That takes 20 s to 2 minutes a
plan on 2 cores, and more where the first does not fit; with --nocompile about 3 s.

Weak scaling keeps all of these, and 4 rows for each chip, while v5p slices grow from 16 to 512
chips. A plan that was compiled is not made again, and takes the place of one that was estimated.
Beside the table a picture shows it, OUT.png.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import absent_hardware
import cli
import plan_views
import recommendations
from experiment_files import ROOT, load_experiment
from lvm_jax import configs

_SIZES = ("100m", "300m", "600m", "1b", "3b", "7b", "13b", "20b", "30b")
_TOPOLOGIES = (
    *("v3-512", "v4-256", "v5e-64", "v5e-256", "v5p-128", "v5p-512", "v6e-256", "tpu7x-128"),
    *("h100:8", "h100:64", "h200:8", "h200:64"),
)
_ROWS, _TOKENS = 512, 420e9
# Chips -> slice; a v5p chip is one device.
_GROWING = {chips: f"v5p-{2 * chips}" for chips in (16, 32, 64, 128, 256, 512)}
_ROWS_PER_CHIP = 4
_FSDP = 8
_GIB = 2**30
Row = dict[str, Any]
"""Of the table: "size", "topology" and what `_row` keeps of a plan, or "error"."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which plans.

    Attributes:
        out: JSON file with a row for each plan; what it has is kept.
        sizes: of experiments/lvm.py.
        topologies: hardware, see tools/plan.py.
        weak_scaling: growing slices instead of these topologies; sizes are then 1b and 7b, or what
            --sizes says.
        recommend: JSON file for experiments/lvm.py: what the rows of `out` say to run where.
        markdown: print the table of docs/planning.md in place of lines.
        compile: compile each; --nocompile estimates.
        budget_minutes: no plan begins later.
        plan_minutes: in a search no further compilation begins later.
    """

    out: str
    sizes: tuple[str, ...] = ()
    topologies: tuple[str, ...] = _TOPOLOGIES
    weak_scaling: bool = False
    recommend: str | None = None
    markdown: bool = False
    compile: bool = True
    budget_minutes: float | None = None
    plan_minutes: float = 10.0

    def __post_init__(self) -> None:
        if self.weak_scaling and self.recommend:
            problem = f"={self.recommend}: what slices that grow keep is fixed, not recommended"
            raise configs.ConfigError(configs.Field("recommend"), problem)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A plan to make.

    Attributes:
        size: of experiments/lvm.py.
        topology: see tools/plan.py.
        overrides: of the experiment.
        searches: for the best mesh, remat policy and micro-batches.
    """

    size: str
    topology: str
    overrides: Mapping[str, Any]
    searches: bool


def main(options: Options) -> None:
    from lvm_jax import atomic

    begun, out = time.monotonic(), pathlib.Path(options.out)
    known = json.loads(out.read_text())["plans"] if out.exists() else []
    rows = {(row["size"], row["topology"]): row for row in known}
    wanted = _weak(options) if options.weak_scaling else _every(options)
    left = [entry for entry in wanted if _is_left(rows.get((entry.size, entry.topology)), options)]
    for number, entry in enumerate(left, 1):
        if time.monotonic() - begun > 60 * (options.budget_minutes or float("inf")):
            print(f"time is up; the same command makes the other {len(left) - number + 1}")
            break
        load = os.getloadavg()[0]
        print(f"{number} of {len(left)}: {entry.size} on {entry.topology}", flush=True)
        key, row = (entry.size, entry.topology), _plan(entry, options)
        took = f"{row['seconds']:.0f} s, {row['cpu_seconds']:.0f} of CPU, at a load of {load:.1f}"
        print(f"{_line(row)}  {took}", flush=True)
        # An estimate is better than a failure.
        rows[key] = rows.get(key, row) if "error" in row else row
        ordered = sorted(rows.values(), key=_place)
        text = ",\n  ".join(json.dumps(row) for row in ordered)
        atomic.write_text(out, f'{{"plans": [\n  {text}\n]}}\n', parents=True)
        if options.recommend:
            recommendations.write(pathlib.Path(options.recommend), ordered)
    _show(sorted(rows.values(), key=_place), options)


def _is_left(row: Row | None, options: Options) -> bool:
    if row is None or "error" in row:
        return True
    return options.compile and row["method"] != "compiled"


def _place(row: Row) -> tuple[int, int, str]:
    """Where in the table: by topology, then by size; growing slices by size, then by chips."""
    growing, topology, size = [*_GROWING.values()], row["topology"], row["size"]
    number = _SIZES.index(size) if size in _SIZES else len(_SIZES)
    if "per_chip" in row:
        return number, growing.index(topology) if topology in growing else len(growing), topology
    return (
        _TOPOLOGIES.index(topology) if topology in _TOPOLOGIES else len(_TOPOLOGIES),
        number,
        topology,
    )


def _show(rows: Sequence[Row], options: Options) -> None:
    planned = [row for row in rows if "error" not in row]
    if options.markdown:
        print(plan_views.markdown(planned, options.topologies))
    else:
        print("\n".join(map(_line, rows)))
    if options.recommend:
        recommendations.write(pathlib.Path(options.recommend), rows)
    picture = pathlib.Path(options.out).with_suffix(".png")
    if not planned:
        return
    if not options.weak_scaling:
        plan_views.draw_sizes(picture, planned)
        return
    from lvm_jax.planning import scaling

    plan_views.draw_growing(picture, planned)
    for size in dict.fromkeys(row["size"] for row in planned):
        shares = [scaling.PerChip(**row["per_chip"]) for row in planned if row["size"] == size]
        print(f"\n{size}, per chip and step\n{scaling.table(shares)}")
        print("\n".join(scaling.not_flat(shares) or ["all of it is flat"]))


def _every(options: Options) -> list[Entry]:
    """The sizes on each topology."""
    return [
        Entry(size=size, topology=topology, overrides={"batch_size": _ROWS}, searches=True)
        for topology in options.topologies
        for size in options.sizes or _SIZES
    ]


def _weak(options: Options) -> list[Entry]:
    fixed = {"accumulation": 1, "loss_chunks": 1, "mesh.fsdp": _FSDP, "model.remat": "full"}
    return [
        Entry(
            size=size,
            topology=topology,
            overrides={
                "batch_size": _ROWS_PER_CHIP * chips,
                "mesh.data": chips // _FSDP,
                **fixed,
            },
            searches=False,
        )
        for size in options.sizes or ("1b", "7b")
        for chips, topology in _GROWING.items()
    ]


def _plan(entry: Entry, options: Options) -> Row:
    """The row of a plan; of one that cannot be made, why."""
    begun, used = time.monotonic(), sum(os.times()[:4])
    try:
        plan = _compiled(entry, options) if options.compile else _estimated(entry)
        row = _row(plan, growing=not entry.searches)
    except ValueError as error:
        row = {"error": str(error)}
    took = {
        "seconds": round(time.monotonic() - begun, 1),
        # Of this process and those it started: what other work on the machine does not change.
        "cpu_seconds": round(sum(os.times()[:4]) - used, 1),
    }
    return {"size": entry.size, "topology": entry.topology, **row, **took}


def _compiled(entry: Entry, options: Options) -> dict[str, Any]:
    """A plan by tools/plan.py: a compiler that ends its process ends no other plan."""
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder, "plan.json")
        command = [sys.executable, str(ROOT / "tools" / "plan.py"), f"--json={made}"]
        command += [f"--config={_config(entry)}", f"--topology={entry.topology}"]
        command += [f"--tokens={_TOKENS:.0f}"]
        command += [f"--config.{key}={value}" for key, value in entry.overrides.items()]
        if entry.searches:
            command += ["--search", "--best=1", f"--budget_minutes={options.plan_minutes}"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if result.returncode:
            raise ValueError(result.stderr.strip().rpartition("\n")[2])
        return json.loads(made.read_text())


def _estimated(entry: Entry) -> dict[str, Any]:
    """The same without a compiler, here."""
    topology = absent_hardware.prepare_environment(entry.topology)
    from lvm_jax.planning import plan, search
    from lvm_jax.training.transformer import transformer_experiment

    overrides = [(key, str(value)) for key, value in entry.overrides.items()]
    values = load_experiment(_config(entry), overrides)
    experiment = transformer_experiment.build_experiment(values)
    arguments = (_config(entry), experiment, topology)
    if entry.searches:
        found = search.search(*arguments, most=1, tokens=_TOKENS, compiles=False).plans[0]
    else:
        found = plan.make(*arguments, tokens=_TOKENS, compiles=False)
    return json.loads(json.dumps(configs.to_dict(found)))


def _config(entry: Entry) -> str:
    return f"{ROOT}/experiments/lvm.py:size={entry.size}"


def _row(plan: dict[str, Any], growing: bool) -> Row:
    """What a table keeps of a plan; FLOPs and bytes are those of a device and step."""
    memory, bounds = plan["memory"], plan["bounds"]
    kept = ("method", "compiler", "chips", "devices", "mesh", "remat", "accumulation")
    needed = sum(memory[key] for key in ("arguments", "temporaries", "code"))
    row = {
        **{key: plan[key] for key in (*kept, "loss_chunks", "batch_size", "context")},
        "date": datetime.date.today().isoformat(),
        "attention": plan["attention"].removeprefix("attention: ").partition(" ")[0],
        "memory_gib": round(needed / _GIB, 2),
        "arguments_gib": round(memory["arguments"] / _GIB, 2),
        "capacity_gib": round(memory["capacity"] / _GIB, 1),
        "memory_share": round(needed / memory["capacity"], 3),
        "fits": memory["fits"],
        "flops": plan["flops"]["executed"] / plan["devices"],
        "collective_gib": round(sum(move["bytes"] for move in plan["moves"]) / _GIB, 3),
        "limit": bounds["limit"],
        "mfu": round(bounds["mfu"], 4),
        "serial_mfu": round(bounds["serial_mfu"], 4),
        "tokens_per_second": round(bounds["tokens_per_second"]),
        "days": round(bounds["days"], 2),
        "serial_days": round(bounds["serial_days"], 2),
        "chip_hours": round(bounds["chip_hours"]),
        "compile_seconds": round(plan["seconds"]["compile"], 1),
    }
    if growing:
        from lvm_jax.planning import scaling
        from lvm_jax.planning.plan import Plan

        share = scaling.per_chip(configs.build_stored(Plan, plan, "the plan"))
        row["per_chip"] = configs.to_dict(share)
    return row


def _line(row: Row) -> str:
    head = f"{row['size']:>5}  {row['topology']:9}"
    if "error" in row:
        return f"{head}  {row['error']}"
    mesh = " ".join(f"{axis}={size}" for axis, size in row["mesh"].items() if size > 1)
    fits = "" if row["fits"] else " DOES NOT FIT"
    return (
        f"{head}  {row['method']:9}  {mesh:28} {row['remat']:11} x{row['accumulation']:<3}"
        f"{row['memory_gib']:7.1f} of {row['capacity_gib']:5.1f} GiB{fits}  "
        f"{row['collective_gib']:7.2f} GiB sent  MFU {row['serial_mfu']:.0%}-{row['mfu']:.0%}  "
        f"{row['days']:6.1f} days  {row['limit']}"
    )


if __name__ == "__main__":
    cli.run(main)
