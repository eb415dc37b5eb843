"""A run's directory: which run it is.

workdir/config.json          the resolved config and the fingerprints of the data
workdir/in_use.json          whose it is while a run goes on, see `in_use`
workdir/metrics.jsonl        see `metrics`
workdir/checkpoints/<step>/  see `checkpoints`
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from absl import logging

from lvm_jax import atomic, configs
from lvm_jax.configs import ConfigError, Field
from lvm_jax.storage import paths
from lvm_jax.storage.patience import StoreError

CONFIG = "config.json"
FOLDER = "checkpoints"
MODEL_KIND = "model"
"""What config.json says under "kind" in the directory of a model by itself."""
COMMITTED = "commit_success.txt"
"""What orbax writes into a checkpoint last; on a store it makes the checkpoint one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Which run it is: a workdir goes on only with the one that it was begun with.

    Attributes:
        resolved: the whole resolved config with fingerprints, JSON-serialisable; it is written to
            workdir/config.json.
        fixed: keys of `resolved` that cannot change during a run, such as "model".
        data: keys of `resolved` that identify its data, such as "data_fingerprint".
        free: dotted keys inside `fixed` that may change all the same, such as "model.remat": they
            say how something is computed, not what.
        switches: dotted keys of `resolved` -> the value that is off, as which a missing one counts.
            What is on cannot be turned off during a run, nor the other way round: the arrays of its
            state would be others.
        accept_key: the dotted key of `resolved` that accepts other data, for messages.
    """

    resolved: Mapping[str, Any]
    fixed: Sequence[str]
    data: Sequence[str] = ()
    free: Sequence[str] = ()
    switches: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    accept_key: str = "loop.accept_changed_data"


def prepare_workdir(
    workdir: pathlib.Path, identity: RunIdentity, *, accept_changed_data: bool = False
) -> None:
    """Makes a run's directory, or makes sure that it is this run's.

    Args:
        workdir: the directory; made when missing.
        identity: of the run.
        accept_changed_data: go on with other data, with a warning.

    Raises:
        ValueError: the directory holds another run, its data changed, or it cannot be written.
    """
    workdir = paths.path(workdir)
    identity = dataclasses.replace(identity, resolved=json.loads(json.dumps(identity.resolved)))
    has_checkpoints = latest_step(workdir) is not None
    if has_checkpoints and not (workdir / CONFIG).exists():
        raise ValueError(
            f"workdir {workdir} has checkpoints but no {CONFIG}; choose another workdir"
        )
    if (workdir / CONFIG).exists() and read_config(workdir).get("kind") == MODEL_KIND:
        raise ValueError(
            f"workdir {workdir} holds a model, not a run; choose another workdir, and init_from="
            f"{workdir} to start from it"
        )
    # Without a checkpoint there is nothing to lose: a run that failed early may start afresh.
    if has_checkpoints:
        previous = read_config(workdir)
        _require_same_run(workdir, previous, identity)
        _check_data(workdir, previous, identity, accept_changed_data)
        _log_changes(previous, identity)
    if jax.process_index() == 0:
        _write_config(workdir, identity.resolved)


def _require_same_run(
    workdir: pathlib.Path, previous: Mapping[str, Any], identity: RunIdentity
) -> None:
    # Switches have a rule of their own: one that an older version did not write is off.
    free = (*identity.free, *identity.switches)
    changes = [
        change
        for key in identity.fixed
        for change in _changes(previous.get(key), identity.resolved.get(key), key, free)
    ]
    for key, off in identity.switches.items():
        before, now = (configs.value_at(each, key) for each in (previous, identity.resolved))
        before = off if before is None else before
        if (before == off) != (now == off):
            changes += _changes(before, now, key)
    if changes:
        raise ValueError(
            f"workdir {workdir} holds another run: its {changes[0]} now; "
            "choose another workdir or the config it was started with"
        )


def _check_data(
    workdir: pathlib.Path, previous: Mapping[str, Any], identity: RunIdentity, accepted: bool
) -> None:
    changes = [
        change
        for key in identity.data
        for change in _changes(previous.get(key), identity.resolved.get(key), key)
    ]
    if changes and not accepted:
        raise ConfigError(
            f"workdir {workdir}: the data changed since its last checkpoint ({'; '.join(changes)});"
            " restore the data, choose another workdir, or accept it with ",
            Field(identity.accept_key),
            "=True",
        )
    for change in changes:
        logging.warning("going on with other data: %s", change)


def _log_changes(previous: Mapping[str, Any], identity: RunIdentity) -> None:
    added = []
    for key in sorted((identity.resolved.keys() | previous.keys()) - set(identity.data)):
        for path, *values in configs.differences(
            previous.get(key), identity.resolved.get(key), key
        ):
            if _is_in(previous, path):
                logging.warning(
                    "the config changed since the last start: %s now", _change(path, *values)
                )
            else:
                added.append(path)
    if added:
        # As many as a newer version has options that an older one had not.
        logging.info("new in the config since the last start: %s", ", ".join(added))


def _is_in(values: Mapping[str, Any], path: str) -> bool:
    """Whether nested mappings have a key such as "model.num_layers", whatever its value."""
    key, _, rest = path.partition(".")
    if not (isinstance(values, Mapping) and key in values):
        return False
    return not rest or _is_in(values[key], rest)


def _changes(old: Any, new: Any, name: str, free: Sequence[str] = ()) -> Iterator[str]:
    """How two JSON values differ, such as "model.num_layers was 2 and is 3"."""
    for path, before, now in configs.differences(old, new, name, free):
        yield _change(path, before, now)


def _change(path: str, before: Any, now: Any) -> str:
    return f"{path} was {configs.shorten(before)} and is {configs.shorten(now)}"


def _write_config(workdir: pathlib.Path, resolved: Mapping[str, Any]) -> None:
    try:
        atomic.write_json(workdir / CONFIG, resolved, parents=True)
        (workdir / FOLDER).mkdir(exist_ok=True)
        if not (paths.store_path(workdir) or os.access(workdir / FOLDER, os.W_OK)):
            raise PermissionError(f"{workdir / FOLDER} is not writable")
    except OSError as error:
        raise cannot_write(workdir, error) from error


def cannot_write(workdir: pathlib.Path, error: OSError) -> ValueError:
    """What to raise when a run's directory refuses its first files."""
    if isinstance(error, StoreError):
        return ValueError(f"workdir {workdir} cannot be written: {error}")
    return ValueError(
        f"workdir {workdir} cannot be written ({error.strerror or error}); "
        "choose one on a disk with room that you may write to"
    )


def is_gone(workdir: pathlib.Path) -> bool:
    """Whether a run's directory was removed, moved or unmounted since `prepare_workdir`.

    Asks for a file in it: whoever goes on writing may have made the directory again.
    """
    return not (paths.path(workdir) / CONFIG).exists()


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
    """The resolved config of a run.

    Raises:
        ValueError: there is none, or it is no JSON.
    """
    path = paths.path(workdir) / CONFIG
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{workdir} is no training directory: {path} is missing") from error
    except StoreError:
        raise
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}; restore it from a copy") from error


def latest_step(workdir: pathlib.Path) -> int | None:
    """The newest checkpoint, without opening it: `recovery` finds the newest that is whole."""
    return max(steps(workdir), default=None)


def steps(workdir: pathlib.Path) -> list[int]:
    """The steps of all checkpoints, in no order, without opening them."""
    folder = paths.path(workdir) / FOLDER
    if not folder.is_dir():
        return []
    # Unfinished and damaged checkpoints have longer names.
    numbered = (path for path in folder.iterdir() if path.name.isdecimal())
    return [int(path.name) for path in numbered if _is_finished(path)]


def _is_finished(checkpoint: pathlib.Path) -> bool:
    # On a store it has its name from the beginning.
    if paths.store_path(checkpoint):
        return (checkpoint / COMMITTED).exists()
    return checkpoint.is_dir()
