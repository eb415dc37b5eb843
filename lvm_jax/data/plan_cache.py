"""Row plans on disk: planned once for a data set and a request, memory-mapped at every later start.

    rows/PACKING-CONTEXT-KEY/plan.json     the request's whole key, and which arrays there are
    rows/PACKING-CONTEXT-KEY/order.npy ... the arrays of `rows.RowPlan`

A directory appears whole, under its final name, or not at all.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
from absl import logging

from lvm_jax.data.config import LongSentences, Packing
from lvm_jax.data.packing import VERSION, plan_rows
from lvm_jax.data.rows import RowPlan
from lvm_jax.data.selection import Selection, select
from lvm_jax.data.shards import Shards


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What rows are wanted of a data set.

    Attributes:
        context: ids per row less one.
        packing, shuffle, long_sentences: as for `rows.plan_rows`.
        selection: which sentences.
    """

    context: int
    packing: Packing = "sentence"
    shuffle: bool = True
    long_sentences: LongSentences = "refuse"
    selection: Selection = dataclasses.field(default_factory=Selection)

    def key(self, shards: Shards) -> str:
        """64 hex digits that change with everything the rows depend on, the planner included."""
        parts: list[Any] = [VERSION, shards.fingerprint, self.context, self.packing, self.shuffle]
        parts += [self.long_sentences, self.selection.as_key()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load_plan(shards: Shards, request: PlanRequest, cache: str = "") -> RowPlan:
    """The plan of a data set, from the cache if it is there.

    Args:
        shards: the data set.
        request: what rows.
        cache: directory for plans; "" keeps them beside the shards. One that cannot be written
            costs planning again at every start.

    Returns:
        The plan, its arrays memory-mapped unless it could not be kept.

    Raises:
        ValueError: rows that cannot be planned, see `rows.plan_rows`, or a selection of nothing or
            of unknown names, see `selection.select`.
    """
    key = request.key(shards)
    name = f"{request.packing}-{request.context}-{key[:16]}"
    directory = pathlib.Path(cache or shards.directory / "rows") / name
    plan = _read_plan(directory, key, request)
    if plan is not None:
        return plan
    plan = plan_rows(
        shards.num_images,
        shards.tokens_per_image,
        request.context,
        request.packing,
        request.shuffle,
        request.long_sentences,
        select(shards, request.selection),
    )
    logging.info("planned %d rows of %d sentences: %s", plan.num_rows, len(shards), directory)
    try:
        _write_plan(directory, key, plan, request)
    except OSError as error:
        logging.warning("the row plan is not kept: cannot write %s: %s", directory, error.strerror)
        return plan
    return _read_plan(directory, key, request) or plan


def _read_plan(directory: pathlib.Path, key: str, request: PlanRequest) -> RowPlan | None:
    """The plan that lies there; None where there is none, a damaged one or another request's."""
    try:
        about = json.loads((directory / "plan.json").read_text())
        if about["key"] != key:
            return None
        arrays = {
            name: np.load(directory / f"{name}.npy", mmap_mode="r").view(np.ndarray)
            for name in about["arrays"]
        }
    except (OSError, EOFError, ValueError, KeyError, TypeError):  # EOFError: an empty .npy
        return None
    return RowPlan(packing=request.packing, context=request.context, **arrays)


def _write_plan(directory: pathlib.Path, key: str, plan: RowPlan, request: PlanRequest) -> None:
    """Keeps a plan, in place of one that cannot be read; raises OSError where it cannot."""
    names = ("order", "ends") + (("firsts", "images") if plan.firsts is not None else ())
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may plan at once: each writes its own copy, and the first to finish wins.
    partial = pathlib.Path(tempfile.mkdtemp(prefix=directory.name + ".", dir=directory.parent))
    try:
        partial.chmod(0o755)
        for name in names:
            np.save(partial / f"{name}.npy", getattr(plan, name))
        about = {"key": key, "num_rows": plan.num_rows, "arrays": names}
        (partial / "plan.json").write_text(json.dumps(about))
        if directory.exists() and _read_plan(directory, key, request) is None:
            shutil.rmtree(directory)
        try:
            os.rename(partial, directory)
        except OSError:
            if not directory.exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
