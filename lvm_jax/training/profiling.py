"""A trace of a few steps, for TensorBoard's profile tab, XProf or Perfetto."""

import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable

import jax
from absl import logging

from lvm_jax.configs import ConfigError, Field
from lvm_jax.storage import paths

FOLDER = "profile"


def parse(steps: str, name: str = "profile_steps") -> tuple[int, int] | None:
    """ "10:13" -> (10, 13); "" -> None.

    Args:
        steps: two counts of updates, the first one smaller.
        name: the field that it is from, for error messages.

    Raises:
        ConfigError: another form.
    """
    if not steps:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", steps)
    if match is None or int(match[1]) >= int(match[2]):
        raise ConfigError(
            Field(name), f"={steps!r} must be FIRST:LAST, such as 10:13 for steps 11, 12 and 13"
        )
    return int(match[1]), int(match[2])


class Profile:
    """Traces what this process does between two steps, into workdir/profile."""

    def __init__(self, steps: str, workdir: pathlib.Path, *, active: bool = True):
        """Traces nothing yet.

        Args:
            steps: see `parse`.
            workdir: the run's directory.
            active: False traces nothing at all: of several processes one is enough.
        """
        self._steps = parse(steps) if active else None
        self._folder = paths.path(workdir).absolute() / FOLDER
        # jax writes to a disk only.
        on_store = self._steps is not None and paths.store_path(self._folder) is not None
        self._written = (
            pathlib.Path(tempfile.mkdtemp(prefix="lvm_jax_profile_")) if on_store else self._folder
        )
        self._is_on = False

    def between(self, step: int, wait: Callable[[], None]) -> None:
        """Begins or ends the trace if `step` is where; call between steps.

        Args:
            step: updates so far.
            wait: returns when the devices have made them.
        """
        if self._steps is None:
            return
        first, last = self._steps
        if self._is_on and step >= last:
            wait()
            self.close()
        elif not self._is_on and first <= step < last:
            wait()
            jax.profiler.start_trace(self._written)
            self._is_on = True

    def close(self) -> None:
        """Ends the trace if it is on."""
        if self._is_on:
            self._is_on, self._steps = False, None
            jax.profiler.stop_trace()
            if stored := paths.store_path(self._folder):
                stored.upload_all(self._written)
                shutil.rmtree(self._written)
            logging.info(
                "profile in %s; look at it with `tensorboard --logdir=%s` (tensorboard-plugin-"
                "profile) or https://ui.perfetto.dev",
                self._folder,
                self._folder,
            )
