"""Row plans on disk: planned once for a data set and a request, memory-mapped at every later start.

    rows/PACKING-CONTEXT-KEY/plan.json     the request's whole key, and checksums of the arrays
    rows/PACKING-CONTEXT-KEY/order.npy ... the arrays of `rows.RowPlan`

A directory appears whole, under its final name, or not at all.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import uuid
from typing import Any

import numpy as np
from absl import logging

from lvm_jax.data.feeding import packing as packing_lib
from lvm_jax.data.feeding.data_config import LongSentences, Packing
from lvm_jax.data.feeding.packing import VERSION, plan_rows
from lvm_jax.data.feeding.rows import RowPlan
from lvm_jax.data.feeding.selection import Selection, select
from lvm_jax.data.shards.reader import Shards
from lvm_jax.data.shards.records import checksum

_MUCH_PADDING = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What rows are wanted of a data set.

    Attributes:
        context: ids per row less one.
        packing, shuffle, long_sentences: as for `packing.plan_rows`.
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
        cache: directory for plans; "" keeps them beside the shards, or in the cache of a store. One
            that cannot be written
            costs planning again at every start.

    Returns:
        The plan, its arrays memory-mapped unless it could not be kept.

    Raises:
        ConfigError: rows that cannot be planned, see `packing.plan_rows`, or a selection of nothing
            or of unknown names, see `selection.select`.
    """
    key = request.key(shards)
    name = f"{request.packing}-{request.context}-{key[:16]}"
    directory = pathlib.Path(cache or shards.plans) / name
    plan = _read_plan(directory, key, request)
    if plan is not None:
        return plan
    selected = select(shards, request.selection)
    plan = plan_rows(
        shards.num_images,
        shards.tokens_per_image,
        request.context,
        request.packing,
        request.shuffle,
        request.long_sentences,
        selected,
    )
    logging.info("planned %d rows of %d sentences: %s", plan.num_rows, len(plan.order), directory)
    if request.packing == "sentence" and plan.images is None:
        _look_at_padding(shards, request.context, selected)
    try:
        _write_plan(directory, key, plan, request)
    except OSError as error:
        logging.warning("the row plan is not kept: cannot write %s: %s", directory, error.strerror)
        return plan
    return _read_plan(directory, key, request) or plan


def _look_at_padding(shards: Shards, context: int, selected: np.ndarray | None) -> None:
    """Says so where much of the rows is padding, and what context would change that."""
    num_images, tokens = shards.num_images, shards.tokens_per_image
    if selected is not None:
        num_images = packing_lib.take(num_images, selected)
    counts = packing_lib.count_images(num_images)
    share = packing_lib.padding(counts, tokens, context)
    logging.info("%.1f%% of the ids of these rows are padding", 100 * share)
    if share <= _MUCH_PADDING:
        return
    better = packing_lib.roomier_context(counts, tokens, context, most=share / 2)
    if better:
        logging.warning(
            "%s: %.1f%% of the ids of its rows are padding; context=%d instead of %d "
            "would leave %.1f%%",
            *(shards.directory, 100 * share, better[0], context, 100 * better[1]),
        )


def _read_plan(directory: pathlib.Path, key: str, request: PlanRequest) -> RowPlan | None:
    """The plan that lies there; None where there is none, a damaged one or another request's."""
    try:
        about = json.loads((directory / "plan.json").read_text())
        if about["key"] != key:
            return None
        arrays = {}
        for name, digest in about["arrays"].items():
            path = directory / f"{name}.npy"
            # A flipped bit would give other rows in silence.
            if checksum(path) != digest:
                return None
            arrays[name] = np.load(path, mmap_mode="r").view(np.ndarray)
        return RowPlan(packing=request.packing, context=request.context, **arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what an odd JSON gives too
        return None


def _write_plan(directory: pathlib.Path, key: str, plan: RowPlan, request: PlanRequest) -> None:
    """Keeps a plan, in place of one that cannot be read; raises OSError where it cannot."""
    names = ("order", "ends") + (("firsts", "images") if plan.firsts is not None else ())
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may plan at once: each writes its own copy, and the first to finish wins.
    partial = directory.with_name(f"{directory.name}.{uuid.uuid4().hex}")
    try:
        partial.mkdir()
        for name in names:
            np.save(partial / f"{name}.npy", getattr(plan, name))
        digests = {name: checksum(partial / f"{name}.npy") for name in names}
        about = {"key": key, "num_rows": plan.num_rows, "arrays": digests}
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
