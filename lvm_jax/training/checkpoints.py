"""A run's directory: which run it is, and its checkpoints.

    workdir/config.json          the resolved config and the fingerprints of the data
    workdir/metrics.jsonl        see `metrics`
    workdir/checkpoints/<step>/  state (arrays as a plain nested dict) and config

Checkpoints are written in the background and appear under their step only when whole, so a run that
is killed at any moment leaves its last good one. The tree on disk has readable string keys and does
not depend on a module library, an optimizer's classes or a mesh.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from lvm_jax import atomic

CONFIG = "config.json"
FOLDER = "checkpoints"


def prepare_workdir(
    workdir: pathlib.Path,
    resolved: Mapping[str, Any],
    *,
    fixed: Sequence[str],
    data: Sequence[str] = (),
    free: Sequence[str] = (),
    accept_changed_data: bool = False,
    accept_key: str = "loop.accept_changed_data",
) -> None:
    """Makes a run's directory, or makes sure that it is this run's.

    Args:
        workdir: the directory; made when missing.
        resolved: the whole resolved config, JSON-serialisable.
        fixed: keys of `resolved` that cannot change during a run, such as "model".
        data: keys of `resolved` that identify its data, such as "data_fingerprint".
        free: dotted keys inside `fixed` that may change all the same, such as "model.remat": they
            say how something is computed, not what.
        accept_changed_data: go on with other data, with a warning.
        accept_key: the config key that sets it, for the message.

    Raises:
        ValueError: the directory holds another run, its data changed, or it cannot be written.
    """
    workdir = pathlib.Path(workdir)
    resolved = json.loads(json.dumps(resolved))
    has_checkpoints = latest_step(workdir) is not None
    if has_checkpoints and not (workdir / CONFIG).exists():
        raise ValueError(
            f"workdir {workdir} has checkpoints but no {CONFIG}; choose another workdir"
        )
    # Without a checkpoint there is nothing to lose: a run that failed early may start afresh.
    if has_checkpoints:
        previous = read_config(workdir)
        for key in fixed:
            difference = next(_differences(previous.get(key), resolved.get(key), key, free), None)
            if difference:
                raise ValueError(
                    f"workdir {workdir} holds another run: its {difference} now; "
                    "choose another workdir or the config it was started with"
                )
        _check_data(workdir, previous, resolved, data, accept_changed_data, accept_key)
        _log_changes(previous, resolved, data)
    if jax.process_index() == 0:
        _write_config(workdir, resolved)


def _check_data(workdir, previous, resolved, keys, accept_changed_data, accept_key) -> None:
    changes = [
        change for key in keys for change in _differences(previous.get(key), resolved.get(key), key)
    ]
    if changes and not accept_changed_data:
        raise ValueError(
            f"workdir {workdir}: the data changed since its last checkpoint ({'; '.join(changes)});"
            f" restore the data, choose another workdir, or accept it with {accept_key}=True"
        )
    for change in changes:
        logging.warning("going on with other data: %s", change)


def _log_changes(previous, resolved, checked) -> None:
    for key in sorted((resolved.keys() | previous.keys()) - set(checked)):
        for change in _differences(previous.get(key), resolved.get(key), key):
            logging.warning("the config changed since the last start: %s now", change)


def _differences(old: Any, new: Any, name: str, free: Sequence[str] = ()) -> Iterator[str]:
    """How two JSON values differ, such as "model.num_layers was 2 and is 3"."""
    if name in free:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}", free)
    elif old != new:
        yield f"{name} was {_shorten(old)} and is {_shorten(new)}"


def _shorten(value: Any) -> str:
    text = str(value)  # a fingerprint says enough with its first digits
    return text if len(text) <= 60 else f"{text[:16]}..."


def _write_config(workdir: pathlib.Path, resolved: Mapping[str, Any]) -> None:
    try:
        atomic.write_json(workdir / CONFIG, resolved, parents=True)
        (workdir / FOLDER).mkdir(exist_ok=True)
        if not os.access(workdir / FOLDER, os.W_OK):
            raise PermissionError(f"{workdir / FOLDER} is not writable")
    except OSError as error:
        raise ValueError(
            f"workdir {workdir} cannot be written ({error.strerror or error}); "
            "choose one on a disk with room that you may write to"
        ) from error


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
    """The resolved config of a run.

    Raises:
        ValueError: there is none, or it is no JSON.
    """
    path = pathlib.Path(workdir) / CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{workdir} is no training directory: {path} is missing") from error
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}; restore it from a copy") from error


def latest_step(workdir: pathlib.Path) -> int | None:
    """The newest whole checkpoint, without opening it."""
    steps = _steps(pathlib.Path(workdir) / FOLDER)
    return max(steps, default=None)


def _steps(folder: pathlib.Path) -> list[int]:
    # Unfinished checkpoints have a longer name until they are whole.
    if not folder.is_dir():
        return []
    return [int(found.name) for found in folder.iterdir() if found.name.isdecimal()]


def _remove_unfinished(folder: pathlib.Path) -> None:
    for found in folder.iterdir() if folder.is_dir() else ():
        if found.is_dir() and not found.name.isdecimal():
            logging.info("removing the unfinished checkpoint %s", found)
            shutil.rmtree(found)


class Checkpoints:
    """The checkpoints of one run. Every process of a run makes one and calls it alike."""

    def __init__(self, workdir: pathlib.Path, config: Mapping[str, Any], *, keep: int = 2):
        """Opens the directory and removes what a killed run left unfinished.

        Args:
            workdir: a directory that `prepare_workdir` accepted.
            config: the resolved config, stored in every checkpoint.
            keep: how many of the newest checkpoints stay.
        """
        self.folder = pathlib.Path(workdir).absolute() / FOLDER
        self._config = json.loads(json.dumps(config))
        if jax.process_index() == 0:
            _remove_unfinished(self.folder)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=True,
                # A folder that cannot be made fails at once; in the background, the threads that
                # wait for it would hang until their timeout.
                async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            ),
        )

    def latest_step(self) -> int | None:
        """The newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Starts writing a checkpoint; the caller may donate `state` as soon as this returns.

        Raises:
            OSError: this or the previous checkpoint could not be written; names what to do.
        """
        if step == self.latest_step():
            return
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(to_plain(state)), config=ocp.args.JsonSave(self._config)
        )
        self._explain_failure(
            step, state, lambda: self._manager.save(step, args=arguments, force=True)
        )

    def wait(self, step: int, state: Any) -> None:
        """Returns when everything is on disk; raises as `save` does."""
        self._explain_failure(step, state, self._manager.wait_until_finished)

    def _explain_failure(self, step: int, state: Any, write) -> None:
        try:
            write()
        # Storage errors arrive as OSError, ValueError or RuntimeError, depending on the layer.
        except (OSError, ValueError, RuntimeError) as error:
            free, need = shutil.disk_usage(self.folder).free, num_bytes(state)
            raise OSError(
                f"cannot write checkpoints to {self.folder} (noticed at step {step}; "
                f"{free / 1e9:.3g} GB free, at most {need / 1e9:.3g} GB needed): "
                f"{first_line(error)}; make room on that disk, or make it writable"
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
                "of another model; remove that step's folder to use an earlier one"
            ) from error
        return from_plain(restored.state, abstract_state)

    def close(self) -> None:
        """Waits for a save that is under way, then lets go of the folder."""
        self._manager.close()


def load_params(
    workdir: pathlib.Path, step: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the parameters of a run into host memory, without its optimizer.

    Works on any number of devices, one CPU included, whatever the run was written on.

    Args:
        workdir: a training directory.
        step: which checkpoint; the newest when None.

    Returns:
        (parameters as a nested dict of numpy arrays, the resolved config).

    Raises:
        ValueError: no such directory or step, or a checkpoint that cannot be read.
    """
    workdir = pathlib.Path(workdir).absolute()
    config = read_config(workdir)
    steps = _steps(workdir / FOLDER)
    if not steps:
        raise ValueError(f"{workdir} has no checkpoint yet; train until the first one is saved")
    step = max(steps) if step is None else step
    if step not in steps:
        raise ValueError(f"{workdir} has no checkpoint of step {step}; it has {sorted(steps)}")
    manager = ocp.CheckpointManager(
        workdir / FOLDER,
        # What orbax would otherwise warn about is said outright: it saves and makes nothing here.
        options=ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False),
        item_handlers={
            "state": ocp.PyTreeCheckpointHandler(),
            "config": ocp.JsonCheckpointHandler(),
        },
    )
    try:
        stored = manager.item_metadata(step)["state"].tree["params"]
        abstract = {
            "params": jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), stored
            )
        }
        arguments = ocp.args.PyTreeRestore(
            item=abstract,
            restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), abstract),
            partial_restore=True,
        )
        restored = manager.restore(step, args=ocp.args.Composite(state=arguments))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"cannot read {workdir / FOLDER / str(step)}: {first_line(error)}; it is damaged; "
            "name an earlier step or remove its folder"
        ) from error
    finally:
        manager.close()
    return restored["state"]["params"], config


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
