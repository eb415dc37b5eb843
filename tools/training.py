"""What the training tools share: a run of several processes starts, stops and fails as one."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import cli

if TYPE_CHECKING:
    from lvm_jax.distributed.distributed_config import DistributedConfig

T = TypeVar("T", bound=Any)


def with_profile(experiment: T, steps: str) -> T:
    """An experiment that profiles some steps, if `steps` names any."""
    if not steps:
        return experiment
    loop = dataclasses.replace(experiment.loop, profile_steps=steps)
    return dataclasses.replace(experiment, loop=loop)


@contextlib.contextmanager
def one_run(config: "DistributedConfig", workdir: pathlib.Path) -> Iterator[None]:
    """A block that all processes of a run go through together, about fields of --config.

    Args:
        config: how the processes find each other.
        workdir: the run's directory.
    """
    # Imported after the flags are known to be good: a typo should not wait for jax.
    from lvm_jax import configs
    from lvm_jax.distributed import member, supervisor
    from lvm_jax.distributed.distributed_config import initialize_jax
    from lvm_jax.training import in_use, stopping

    # A process of Python's removes what a killed trainer leaves; its complaint about that would
    # come after the last line.
    known = os.environ.get("PYTHONWARNINGS", "")
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{known},{quiet}" if known else quiet

    def hint() -> str:
        begun = workdir.exists()
        return stopping.resume_hint(workdir) if begun else "the same command starts over"

    with configs.within("config.distributed"):
        place = supervisor.start(
            config,
            say=cli.say,
            hint=hint,
            clean_up=lambda: in_use.release(workdir, os.getpid()),
        )
    if not member.attached():
        initialize_jax(place)
        with configs.within("config"):
            yield
        return
    try:
        initialize_jax(place)
        with configs.within("config"):
            yield
        member.finish()
    except stopping.RunStoppedError as stopped:
        member.finish(*cli.explanation(stopped))
    except BaseException as error:  # whatever it is, SystemExit too: the others must not wait
        line, code = cli.explanation(error)
        if not isinstance(error, cli.EXPLAINED):
            line = f"{line}; {hint()}"
        member.fail(line, code)
