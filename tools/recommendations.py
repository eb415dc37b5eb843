"""What a table of plans says to run where, as data for experiments/lvm.py."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from lvm_jax import atomic

_COMMAND = (
    "python tools/plan_table.py --out=experiments/results/plans.json "
    "--recommend=experiments/lvm_topologies.json"
)


def write(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a recommendation for each row of a table, one a line.

    Args:
        path: of the file.
        rows: see tools/plan_table.py; those with an error are left out.
    """
    found = [json.dumps(_recommendation(row)) for row in rows if "error" not in row]
    lines = ",\n  ".join(found)
    head = f'{{"written_by": {json.dumps(_COMMAND)},\n "rows": [\n  '
    atomic.write_text(path, f"{head}{lines}\n]}}\n", parents=True)


def _recommendation(row: Mapping[str, Any]) -> dict[str, Any]:
    how = "estimated"
    if row["method"] == "compiled":
        how = f"compiled by {row['compiler']}"
    where = {key: row[key] for key in ("size", "topology", "chips", "batch_size", "context")}
    if not row["fits"]:
        need = f"{row['memory_gib']} GiB of {row['capacity_gib']} GiB"
        return {**where, "problem": need, "how": how, "date": row["date"]}
    settings = ("mesh", "remat", "accumulation", "loss_chunks")
    says = ("memory_share", "mfu", "serial_mfu", "date")
    return {**where, **{key: row[key] for key in settings}, "how": how} | {
        key: row[key] for key in says
    }
