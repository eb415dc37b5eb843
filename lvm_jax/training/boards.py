"""Places beside metrics.jsonl where the numbers of a run can be watched, if it asks for them.

TensorBoard's event files are written anew at every start from the lines that count. Weights &
Biases cannot take back what it was told: there a resumed run goes on under its id, and steps that a
killed run made after its last checkpoint, and makes again with the same numbers, stand twice.
"""

import dataclasses
import json
import pathlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from absl import logging

from lvm_jax import atomic
from lvm_jax.configs import ConfigError, Field
from lvm_jax.storage import paths

Line = Mapping[str, Any]
"""{"step": 10, "time": ..., "train/loss": ...}"""
WANDB_FILE = "wandb.json"
TENSORBOARD_FOLDER = "tensorboard"


class Board(Protocol):
    """What takes lines of metrics."""

    def begin(self, lines: Sequence[Line]) -> None:
        """Takes the lines of earlier starts that count."""

    def write(self, line: Line) -> None:
        """Takes a new line."""

    def close(self) -> None:
        """Takes no more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """A run in Weights & Biases.

    Attributes:
        project: its project; "" for none, and nothing is sent anywhere.
        entity: whose project; "" for the user's default.
        name: of the run; "" for the workdir's.
        mode: "offline" keeps everything in WORKDIR/wandb, for `wandb sync`.
    """

    project: str = ""
    entity: str = ""
    name: str = ""
    mode: Literal["online", "offline"] = "online"


def require(tensorboard: bool, wandb: WandbConfig, workdir: pathlib.Path) -> None:
    """Raises ConfigError when what is asked for is not installed, or cannot write to `workdir`."""
    if tensorboard:
        _summary_writer()
        if paths.store_path(workdir):
            raise ConfigError(
                *(Field("tensorboard"), f"=True writes to a disk, and workdir {workdir} is on a "),
                *("store; take metrics.jsonl, or ", Field("wandb.project")),
            )
    if wandb.project:
        _wandb()


def opened(
    workdir: pathlib.Path, tensorboard: bool, wandb: WandbConfig, config: Mapping[str, Any]
) -> list[Board]:
    """The boards that a run asks for, for process 0.

    Args:
        workdir: the run's directory.
        tensorboard: whether event files are wanted.
        wandb: which run in Weights & Biases.
        config: the resolved config, shown beside the curves.
    """
    boards: list[Board] = []
    if tensorboard:
        boards.append(TensorBoard(workdir / TENSORBOARD_FOLDER))
    if wandb.project:
        boards.append(Wandb(workdir, wandb, config))
    return boards


class TensorBoard:
    """Event files in a folder."""

    def __init__(self, folder: pathlib.Path):
        # tensorboardX writes late and cannot take back: a killed run leaves gaps and later steps.
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = _summary_writer()(str(folder))

    def begin(self, lines: Sequence[Line]) -> None:
        for line in lines:
            self.write(line)

    def write(self, line: Line) -> None:
        for name, value in _numbers(line).items():
            self._writer.add_scalar(name, value, line["step"], walltime=line["time"])

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run in Weights & Biases; its id is kept in workdir/wandb.json."""

    def __init__(self, workdir: pathlib.Path, config: WandbConfig, resolved: Mapping[str, Any]):
        wandb = _wandb()
        path = workdir / WANDB_FILE
        self._is_new = not path.exists()
        if self._is_new:
            atomic.write_json(path, {"id": secrets.token_hex(4)})
        identity = json.loads(path.read_text())
        try:
            self._run = wandb.init(
                project=config.project,
                entity=config.entity or None,
                name=config.name or workdir.absolute().name,
                id=identity["id"],
                resume="allow",
                mode=config.mode,
                dir=None if paths.store_path(workdir) else str(workdir),
                config=dict(resolved),
                # The last line of a program is its own.
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise RuntimeError(
                f"Weights & Biases does not take this run: {' '.join(str(error).split())}; log in "
                "(`wandb login`), or set loop.wandb.mode=offline"
            ) from error
        # Its own counter only grows; curves are over the run's steps, which may come again.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        offline = config.mode == "offline"
        logging.info("Weights & Biases: %s", self._run.dir if offline else self._run.url)

    def begin(self, lines: Sequence[Line]) -> None:
        # What an earlier start has told, it knows.
        if self._is_new:
            for line in lines:
                self.write(line)

    def write(self, line: Line) -> None:
        self._run.log({"step": line["step"], **_numbers(line)})

    def close(self) -> None:
        self._run.finish()


def _numbers(line: Line) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in ("step", "time")}


def _summary_writer() -> Any:
    try:
        import tensorboardX
    except ImportError as error:
        raise ConfigError(
            Field("tensorboard"), "=True needs tensorboardX; install lvm_jax[tensorboard]"
        ) from error
    return tensorboardX.SummaryWriter


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            Field("wandb.project"), " needs wandb; install lvm_jax[wandb], or leave it empty"
        ) from error
    return wandb
