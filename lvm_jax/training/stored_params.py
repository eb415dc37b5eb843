"""Parameters that lie on disk, found before they are read: of a run, or a model by itself.

DIR/config.json               the resolved config: "kind", "model", and where they are known
                              "tokenizer_fingerprint" and how pictures were read
DIR/checkpoints/<step>/state  a run: "params", with an average "ema", and what else a state has
DIR/params                    a model: the nested dict of parameters itself, as orbax keeps a tree;
                              see `model_directory`, which also adds checksums
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from lvm_jax import trees
from lvm_jax.storage import orbax_paths, paths
from lvm_jax.training import checksums, processes, recovery, stored_array
from lvm_jax.training.checkpoints import first_line
from lvm_jax.training.stored_array import StoredArray
from lvm_jax.training.workdir import FOLDER, read_config, steps

PARAMS = "params"
"""The folder of a model's parameters, and what a state calls its own."""
EMA = "ema"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredParams:
    """Parameters that were found.

    Attributes:
        directory: where they were asked for.
        step: of the run; None for a model by itself.
        config: the resolved config beside them.
        shapes: nested dict of `jax.ShapeDtypeStruct`.
    """

    directory: pathlib.Path
    step: int | None
    config: dict[str, Any]
    shapes: dict[str, Any]
    _folder: pathlib.Path
    _key: str | None

    def read(self, like: dict[str, Any] | None = None) -> dict[str, Any]:
        """Reads all parameters, or some of them.

        Args:
            like: nested dict of `jax.ShapeDtypeStruct` with shardings: what is read, as which
                dtype and onto which devices; no device or host holds more than its share. None
                reads all into the memory of the host, as they are.

        Returns:
            The same nested dict of arrays.

        Raises:
            ValueError: they are damaged.
        """
        if like is None:
            how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), self.shapes)
        else:
            how = jax.tree.map(
                lambda leaf: ocp.ArrayRestoreArgs(
                    sharding=leaf.sharding, dtype=leaf.dtype, global_shape=leaf.shape
                ),
                like,
            )
        item = self.shapes if like is None else like
        if self._key is not None:
            item, how = {self._key: item}, {self._key: how}
        arguments = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
        handler = ocp.PyTreeCheckpointHandler()
        try:
            restored = handler.restore(epath.Path(self._folder), args=arguments)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error
        finally:
            handler.close()
        return restored if self._key is None else restored[self._key]

    def array(self, name: str) -> StoredArray:
        """One parameter by its flat name, to be read in parts.

        Raises:
            ValueError: it is damaged.
        """
        dotted = name.replace(trees.SEPARATOR, ".")
        dotted = dotted if self._key is None else f"{self._key}.{dotted}"
        return stored_array.open_array(self._folder, dotted, self._damaged)

    def fingerprint(self) -> str:
        """SHA-256 over what tells files from others; 64 hex digits.

        Over the checksums of a checkpoint, or where there are none over what its arrays are and
        the list of their files.
        """
        digest = hashlib.sha256(json.dumps(self._about(), sort_keys=True).encode())
        folder = self._folder if self._key is None else self._folder.parent
        for path in (folder / checksums.FILE, self._folder / "manifest.ocdbt"):
            digest.update(path.read_bytes() if path.exists() else b"")
        return digest.hexdigest()

    def _about(self) -> dict[str, Any]:
        flat = trees.flatten(self.shapes)
        return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in flat.items()}

    def _damaged(self, error: BaseException) -> ValueError:
        remedy = "name an earlier step or remove its folder" if self._key else "copy it anew"
        where = self._folder.parent if self._key else self._folder
        return ValueError(f"cannot read {where}: {first_line(error)}; it is damaged; {remedy}")


def find(
    directory: str | pathlib.Path,
    step: int | None = None,
    *,
    ema: bool = False,
    together: bool = False,
) -> StoredParams:
    """Looks which parameters a directory holds, without reading them.

    Args:
        directory: a training directory, or a model's.
        step: which checkpoint of a run; the newest that is whole when None.
        ema: the run's average instead of its parameters.
        together: every process of a run calls this at once; see `recovery.newest_whole`.

    Raises:
        ValueError: no such directory, step or average, or a checkpoint that cannot be read.
    """
    directory = paths.path(directory).absolute()
    config = read_config(directory)
    orbax_paths.prepare(directory)
    alone = directory / PARAMS
    if alone.is_dir() and not steps(directory):
        if ema or step is not None:
            asked = "average" if ema else f"step {step}"
            raise ValueError(f"{directory} is a model, not a run: it has no {asked}; leave it out")
        folder, key = alone, None
    else:
        step = _whole_step(directory, step, together)
        folder, key = directory / FOLDER / str(step) / "state", EMA if ema else PARAMS
    found = StoredParams(
        directory=directory, step=step, config=config, shapes={}, _folder=folder, _key=key
    )
    if key is None and (damage := _damage_of_model(folder, together)):
        raise found._damaged(ValueError(damage))
    handler = ocp.PyTreeCheckpointHandler()
    try:
        tree = handler.metadata(epath.Path(folder)).tree
        stored = tree if key is None else tree.get(key)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise found._damaged(error) from error
    finally:
        handler.close()
    if stored is None:
        no = "keeps no average of its parameters; leave it out" if ema else "has no parameters"
        raise ValueError(f"{folder.parent} {no}")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), stored)
    return dataclasses.replace(found, shapes=shapes)


def _damage_of_model(folder: pathlib.Path, together: bool) -> str | None:
    """What is wrong with the parameters of a model; those of other programs have no checksums."""
    if not (folder / checksums.FILE).exists():
        return None
    if not together:
        return checksums.find_damage(folder)
    share = (jax.process_index(), jax.process_count())
    texts = processes.gather(checksums.find_damage(folder, share=share) or "")
    return next(filter(None, texts), None)


def _whole_step(workdir: pathlib.Path, step: int | None, together: bool) -> int | None:
    saved = steps(workdir)
    if not saved:
        raise ValueError(f"{workdir} has no checkpoint yet; train until the first one is saved")
    if step is None:
        newest = recovery.newest_whole(workdir, together=together)
        recovery.warn(workdir, newest, "reading")
        return newest.step
    if step not in saved:
        raise ValueError(f"{workdir} has no checkpoint of step {step}; it has {sorted(saved)}")
    if damage := recovery.find_damage(workdir / FOLDER / str(step)):
        raise ValueError(
            f"cannot read {workdir / FOLDER / str(step)}: {damage}; name another of "
            f"{sorted(saved)}, or restore it from a copy"
        )
    return step


def load_params(
    directory: str | pathlib.Path, step: int | None = None, *, ema: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the parameters of a run or of a model into host memory, without an optimizer.

    Works on any number of devices, one CPU included, whatever they were written on. Arguments and
    errors as of `find`.

    Returns:
        (parameters as a nested dict of numpy arrays, the resolved config).
    """
    found = find(directory, step, ema=ema)
    return found.read(), found.config
