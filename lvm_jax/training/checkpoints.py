"""The arrays of a run's checkpoints; which run a directory holds is said by `workdir`.

Checkpoints are written in the background and appear under their step only when whole and with the
checksums of their files, so a run that is killed at any moment leaves its last good one, and what a
disk loses or alters later is noticed. The tree on disk has readable string keys and does not depend
on a module library, an optimizer's classes or a mesh.

workdir/checkpoints/<step>/state/          parameters, moments and counters
workdir/checkpoints/<step>/config/         the resolved config
workdir/checkpoints/<step>/totals/         sums over all steps: tokens with a loss, goodput
workdir/checkpoints/<step>/checksums.json  see `checksums`
workdir/checkpoints/<step>.damaged/        see `recovery`

On a store a checkpoint has its name from the beginning and is one when its commit_success.txt is
there.
"""

import functools
import json
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from lvm_jax.storage import orbax_paths, paths
from lvm_jax.storage.patience import StoreError
from lvm_jax.training import checksums, recovery
from lvm_jax.training.background_writes import Watch
from lvm_jax.training.workdir import FOLDER, is_gone, steps

_UNFINISHED = ocp.path.atomicity_types.TMP_DIR_SUFFIX
# Of several processes all end within 20 s of a failure of one.
_MOST_CLOSING_SECONDS = 8.0
# Written once more when a checkpoint gets its name: nothing that is restored is in them.
_LAST_FILES = ("_CHECKPOINT_METADATA", "commit_success.txt")


def _remove_unfinished(folder: pathlib.Path) -> None:
    if stored := paths.store_path(folder):
        finished = {str(step) for step in steps(folder.parent)}
        for inner in stored.glob("*"):
            if inner.name.isdecimal() and inner.name not in finished:
                logging.info("removing the unfinished checkpoint %s", inner)
                inner.rmtree()
        return
    for path in folder.glob(f"*{_UNFINISHED}*"):
        if path.is_dir():
            logging.info("removing the unfinished checkpoint %s", path)
            shutil.rmtree(path)


def _preserved(keep: int, keep_every: int) -> checkpoint_managers.PreservationPolicy:
    newest = checkpoint_managers.LatestN(keep)
    if not keep_every:
        return newest
    return checkpoint_managers.AnyPreservationPolicy(
        [newest, checkpoint_managers.EveryNSteps(keep_every)]
    )


class Checkpoints:
    """The checkpoints of one run. Every process of a run makes one and calls it alike."""

    def __init__(
        self,
        workdir: pathlib.Path,
        config: Mapping[str, Any],
        *,
        keep: int = 2,
        keep_every: int = 0,
    ):
        """Opens the directory and removes what a killed run left unfinished.

        Args:
            workdir: a directory that `workdir.prepare_workdir` accepted.
            config: the resolved config, stored in every checkpoint.
            keep: how many of the newest checkpoints stay.
            keep_every: checkpoints of every so many steps stay for good; 0: none.
        """
        self.folder = paths.path(workdir).absolute() / FOLDER
        self._config = json.loads(json.dumps(config))
        self._writing: int | None = None
        self._watch = Watch()
        orbax_paths.prepare(self.folder)
        if jax.process_index() == 0:
            _remove_unfinished(self.folder)
        on_store = paths.store_path(self.folder) is not None
        self._unfinished = "" if on_store else _UNFINISHED
        self._manager = ocp.CheckpointManager(
            os.fspath(self.folder),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_preserved(keep, keep_every),
                create=True,
                temporary_path_class=ocp.path.atomicity.CommitFileTemporaryPath
                if on_store
                else None,
                # A folder that cannot be made fails at once; in the background, the threads that
                # wait for it would hang until their timeout.
                async_options=ocp.AsyncOptions(
                    create_directories_asynchronously=False,
                    post_finalization_callback=self._note_checksums,
                ),
            ),
        )

    def latest_step(self) -> int | None:
        """The newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, totals: Mapping[str, Any] | None = None) -> None:
        """Starts writing a checkpoint; the caller may donate `state` as soon as this returns.

        Args:
            step: updates made so far.
            state: the arrays.
            totals: sums over all these updates, by name; JSON-serialisable.

        Raises:
            OSError: this or the previous checkpoint could not be written; names what to do.
        """
        if step == self.latest_step():
            return
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(to_plain(state)),
            config=ocp.args.JsonSave(self._config),
            totals=ocp.args.JsonSave(dict(totals or {})),
        )

        def start() -> None:
            self._finish_previous()
            # It would be made again with all its parents, and hide what happened.
            if is_gone(self.folder.parent):
                raise FileNotFoundError(f"{self.folder.parent} is gone")
            self._writing = step
            marks = {recovery.HAS_CHECKSUMS: True}
            try:
                self._manager.save(step, args=arguments, force=True, custom_metadata=marks)
            except BaseException:
                self._writing = None
                raise

        self._explain_failure(step, state, start)

    def check(self, step: int, state: Any) -> None:
        """Raises as `save` does when a write has failed in the background; waits for nothing."""
        if self._watch.failure is not None:
            self.wait(step, state)

    def wait(self, step: int, state: Any) -> None:
        """Returns when everything is on disk; raises as `save` does."""
        self._explain_failure(step, state, self._finish_previous)

    def _finish_previous(self, most_seconds: float = math.inf) -> None:
        try:
            self._watch.wait(self._manager.wait_until_finished, most_seconds)
        finally:
            written, self._writing = self._writing, None
        if written is not None and jax.process_index() == 0:
            checksums.note_rest(self.folder / str(written))

    def _note_checksums(self) -> None:
        """Called on process 0 when all files are written and before they get their step's name."""
        checksums.note(self.folder / f"{self._writing}{self._unfinished}", leave_out=_LAST_FILES)

    def _explain_failure(self, step: int, state: Any, write: Callable[[], None]) -> None:
        try:
            write()
        # Storage errors arrive as OSError, ValueError or RuntimeError, depending on the layer.
        except (OSError, ValueError, RuntimeError) as error:
            if is_gone(self.folder.parent):
                raise FileNotFoundError(
                    f"cannot write checkpoints (noticed at step {step}): {self.folder.parent} is "
                    "gone"
                ) from error
            if paths.store_path(self.folder):
                raise StoreError(
                    getattr(error, "errno", None),
                    f"cannot write checkpoints (noticed at step {step}): {first_line(error)}; "
                    "look at the store and at the rights of this machine there",
                    str(self.folder),
                ) from error
            free, needed = shutil.disk_usage(self.folder).free, num_bytes(state)
            need = f", at most {needed / 1e9:.3g} GB needed" if needed else ""
            raise OSError(
                f"cannot write checkpoints to {self.folder} (noticed at step {step}; "
                f"{free / 1e9:.3g} GB free{need}): {first_line(error)}; make room on that disk, "
                "or make it writable"
            ) from error

    def restore(self, abstract_state: Any, step: int | None = None) -> Any:
        """Reads a state onto the devices that `abstract_state` names, whatever wrote it.

        Args:
            abstract_state: `jax.ShapeDtypeStruct`s with shardings, in the state's own containers.
            step: which checkpoint; the newest when None.

        Raises:
            ValueError: a checkpoint that cannot be read or has other arrays.
        """
        step = self.latest_step() if step is None else step
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(to_plain(abstract_state))),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"cannot restore {self.folder / str(step)}: {first_line(error)}; it is damaged or "
                "of another model or optimizer; remove that step's folder to use an earlier one"
            ) from error
        return from_plain(restored["state"], abstract_state)

    def totals(self, step: int) -> dict[str, Any]:
        """The `totals` of a checkpoint; empty where it was written without any."""
        if not (self.folder / str(step) / "totals").is_dir():
            return {}
        arguments = ocp.args.Composite(totals=ocp.args.JsonRestore())
        return self._manager.restore(step, args=arguments)["totals"]

    def close(self) -> None:
        """Waits for a save that is under way, then lets go of the folder; raises as `save` does."""
        try:
            if self._writing is not None:
                # A run that has failed may have left its other processes waiting for it.
                failed = sys.exception() is not None
                wait = functools.partial(
                    self._finish_previous, _MOST_CLOSING_SECONDS if failed else math.inf
                )
                self._explain_failure(self._writing, {}, wait)
        finally:
            # With a write that failed it would wait for other processes, which are about to end.
            if self._watch.failure is None or jax.process_count() == 1:
                self._manager.close()
            self._watch.close()


def to_plain(tree: Any) -> dict[str, Any]:
    """Any containers -> nested dicts with string keys: field names, dict keys, positions."""
    plain: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        *parents, last = [_key_name(key) for key in path]
        node = plain
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return plain


def from_plain(plain: Mapping[str, Any], like: Any) -> Any:
    """The inverse of `to_plain`, into the containers of `like`."""
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    leaves = []
    for path, _ in paths:
        node = plain
        for key in path:
            node = node[_key_name(key)]
        leaves.append(node)
    return jax.tree.unflatten(structure, leaves)


def _key_name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def num_bytes(tree: Any) -> int:
    """Bytes of all arrays, over all devices."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def first_line(error: BaseException) -> str:
    """What an error says, in one line of bounded length."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
