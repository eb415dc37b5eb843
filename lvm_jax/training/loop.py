"""The training loop, one for every training.

It knows a state, a pure step and batches; whether they train a transformer or a VQGAN it does not
know. A run that is started again with the same workdir goes on after its newest checkpoint, and
because batches are a function of the step, it sees the very next rows.
"""

import dataclasses
import math
import pathlib
import platform
import signal as signals
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jax
from absl import logging

from lvm_jax import configs, trees
from lvm_jax.configs import ConfigError, Field
from lvm_jax.distributed import member
from lvm_jax.storage import paths
from lvm_jax.training import (
    boards,
    durations,
    finite,
    in_use,
    processes,
    profiling,
    recovery,
    stopping,
)
from lvm_jax.training import metrics as metrics_lib
from lvm_jax.training import workdir as workdir_lib
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.goodput import Goodput
from lvm_jax.training.group_sums import GroupSums
from lvm_jax.training.journal import Journal
from lvm_jax.training.schedule import Schedule
from lvm_jax.training.training import State, Training
from lvm_jax.training.workdir import RunIdentity
from lvm_jax.version import __version__

# Among the sums that a checkpoint carries.
_GOODPUT, _GROUPS = "goodput", "groups"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long to train, and what to do on the way.

    Durations are steps (1000) or text with a unit: "20k examples", "1b tokens", "2 epochs"; all but
    num_steps also "5%", and checkpoint_every also a time, "20 min".

    Attributes:
        num_steps: length of the run in updates.
        log_every: steps between lines in metrics.jsonl.
        checkpoint_every: steps between checkpoints, or a time, which is looked at every log_every
            steps; the end of the run is always saved. 0: only it.
        eval_every: steps between evaluations; 0: only at the end.
        keep_checkpoints: how many of the newest checkpoints stay on disk.
        keep_every: steps between checkpoints that are made and stay for good; 0: none.
        tensorboard: write TensorBoard event files too.
        wandb: Weights & Biases too, see its class.
        profile_steps: FIRST:LAST, such as 10:13, traces the steps after FIRST until LAST into
            WORKDIR/profile.
        compilation_cache: folder that keeps compiled programs, so that a restart is quick; "" for
            JAX_COMPILATION_CACHE_DIR, if that is set.
        accept_changed_data: resume although the data set is not the one the run began with.
    """

    num_steps: durations.Duration
    log_every: durations.Duration = 10
    checkpoint_every: durations.Duration = 1000
    eval_every: durations.Duration = 0
    keep_checkpoints: int = 2
    keep_every: durations.Duration = 0
    tensorboard: bool = False
    wandb: boards.WandbConfig = dataclasses.field(default_factory=boards.WandbConfig)
    profile_steps: str = ""
    compilation_cache: str = ""
    accept_changed_data: bool = False

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "keep_checkpoints")
        profiling.parse(self.profile_steps)
        if durations.seconds(self.checkpoint_every) == 0:
            raise ConfigError(
                *(Field("checkpoint_every"), f"={self.checkpoint_every!r} must be positive, or 0 "),
                "to save at the end only",
            )

    def resolve(self, rates: durations.Rates) -> "LoopConfig":
        """The same with every duration in steps.

        Raises:
            ConfigError: a duration that cannot be resolved.
        """
        num_steps = durations.to_steps(self.num_steps, rates, "num_steps")
        rates = dataclasses.replace(rates, run_steps=num_steps)
        names = ["log_every", "eval_every", "keep_every"]
        if durations.seconds(self.checkpoint_every) is None:
            names.append("checkpoint_every")
        steps = {name: durations.to_steps(getattr(self, name), rates, name) for name in names}
        steps["log_every"] = max(steps["log_every"], 1)
        profiled = profiling.parse(self.profile_steps)
        if profiled is not None and profiled[0] >= num_steps:
            raise ConfigError(
                *(Field("profile_steps"), f"={self.profile_steps!r} begins after the last step: "),
                *(Field("num_steps"), f"={num_steps}; take earlier ones"),
            )
        return dataclasses.replace(self, num_steps=num_steps, **steps)


def run(
    config: LoopConfig, workdir: pathlib.Path, identity: RunIdentity, training: Training
) -> State | None:
    """Trains from the newest whole checkpoint in `workdir`, or from the start, to the last step.

    Args:
        config: with durations in steps (`LoopConfig.resolve`).
        workdir: the run's directory; made when missing.
        identity: which run it is; a workdir of another one is refused.
        training: with its data.

    Returns:
        The final state, or None when the run was finished before.

    Raises:
        ValueError: the workdir is another run's, cannot be written, or has checkpoints of which
            none is whole; nothing was touched.
        RunError: training failed; the message names the step and the last checkpoint.
        RunStoppedError: a signal to stop arrived; the state was saved.
    """
    num_steps = durations.resolved(config.num_steps)
    workdir, started = paths.path(workdir), time.time()
    with configs.within("loop"):
        boards.require(config.tensorboard, config.wandb, workdir)
    processes.require_one_config(identity.resolved)
    with in_use.claim(workdir) as owner:
        accepted = config.accept_changed_data
        workdir_lib.prepare_workdir(workdir, identity, accept_changed_data=accepted)
        processes.require_one_list(workdir)
        newest = recovery.newest_whole(workdir, together=True)
        recovery.warn(workdir, newest, "going on from")
        ended = newest.step is not None and newest.step >= num_steps
        if ended and not _owes_evaluation(workdir, newest.step, training):
            again = "raise loop.num_steps to go on"
            _log("finished before: %s is at step %d; %s", workdir, newest.step, again)
            return None
        recovery.set_aside(workdir, newest)
        with stopping.explained(workdir), stopping.StopSignal() as stop:
            return _train(config, workdir, identity, training, owner, stop, started)


def _owes_evaluation(workdir: pathlib.Path, step: int | None, training: Training) -> bool:
    """Whether a run was told to stop in its last evaluation."""
    lines = metrics_lib.read_metrics(workdir)
    made = {line["step"] for line in lines if metrics_lib.is_evaluation(line)}
    return bool(training.evaluators) and processes.first_says(step not in made)


def _train(
    config: LoopConfig,
    workdir: pathlib.Path,
    identity: RunIdentity,
    training: Training,
    owner: in_use.Owner,
    stop: stopping.StopSignal,
    started: float,
) -> State:
    """Opens what a run needs, goes through its steps and closes everything again."""
    assert training.batches is not None, "a training without data"
    num_steps = durations.resolved(config.num_steps)
    with stopping.Closing() as closing:
        checkpoints = Checkpoints(
            workdir,
            identity.resolved,
            keep=config.keep_checkpoints,
            keep_every=durations.resolved(config.keep_every),
        )
        closing.add(checkpoints.close)
        start, state, saved = _restore_or_init(checkpoints, training)
        _log_start(config, workdir, training, start, state)
        main = jax.process_index() == 0
        writer = metrics_lib.MetricsWriter(
            workdir,
            start_step=start,
            boards=lambda: boards.opened(
                workdir, config.tensorboard, config.wandb, identity.resolved
            ),
            active=main,
        )
        closing.add(writer.close)
        profile = profiling.Profile(config.profile_steps, workdir, active=main)
        closing.add(profile.close)
        progress = metrics_lib.Progress(
            start_step=start, num_steps=num_steps, unit=training.work.unit, active=main
        )
        closing.add(progress.close)
        schedule = Schedule(config)
        journal = Journal(
            training.work,
            totals=_totals(training, start, saved),
            groups=GroupSums(training.labels, saved.get(_GROUPS)),
            most_skipped=training.most_skipped,
            writer=writer,
            progress=progress,
            is_logged=lambda step: schedule.is_logged(step) or step == num_steps,
            data_metrics=training.data_metrics,
            goodput=Goodput(started, saved.get(_GOODPUT), writer.last_line),
        )
        batches = training.batches(start)
        closing.add(getattr(batches, "close", lambda: None))
        opened = _Run(
            config, workdir, training, owner, stop, schedule, checkpoints, writer, journal, profile
        )
        return opened.train(start, state, batches)


def _restore_or_init(
    checkpoints: Checkpoints, training: Training
) -> tuple[int, State, dict[str, Any]]:
    """(updates made, the state after them, what else was saved of them)."""
    step = checkpoints.latest_step()
    if step is None:
        return 0, (training.begin or training.init_state)(), {}
    return step, checkpoints.restore(training.abstract_state(), step), checkpoints.totals(step)


def _totals(training: Training, step: int, saved: Mapping[str, Any]) -> dict[str, int]:
    """Sums over the updates so far, by name, without those that were not counted."""
    names = training.work.totals.keys()
    if step == 0:
        return dict.fromkeys(names, 0)
    for name in names - saved.keys():
        _log("train/%s is not counted: the checkpoint of step %d has no such sum", name, step)
    return {name: saved[name] for name in names & saved.keys()}


def _log_start(
    config: LoopConfig, workdir: pathlib.Path, training: Training, start: int, state: State
) -> None:
    devices = jax.devices()
    _log(
        "lvm_jax %s, jax %s, python %s; %d x %s in %d process(es)",
        *(__version__, jax.__version__, platform.python_version()),
        *(len(devices), devices[0].device_kind, jax.process_count()),
    )
    for line in (*training.summary, *training.work.summary()):
        _log("%s", line)
    count = trees.count_parameters(state["params"])
    _log("%s parameters; config in %s", f"{count:,}", workdir / workdir_lib.CONFIG)
    if start:
        _log("resuming from the checkpoint of step %d of %d", start, config.num_steps)
    else:
        _log("starting: %d steps", config.num_steps)


@dataclasses.dataclass(frozen=True)
class _Run:
    """One call of `run`, with all that it has opened."""

    config: LoopConfig
    workdir: pathlib.Path
    training: Training
    owner: in_use.Owner
    stop: stopping.StopSignal
    schedule: Schedule
    checkpoints: Checkpoints
    writer: metrics_lib.MetricsWriter
    journal: Journal
    profile: profiling.Profile

    def train(self, start: int, state: State, batches: Iterator[Any]) -> State:
        """The loop. Its order matters and is the same for every training."""
        training, journal = self.training, self.journal
        num_steps = durations.resolved(self.config.num_steps)
        for step in range(start, num_steps):
            # 1. Evaluate what `step` updates have made; 2. save it, if its loss was finite.
            self._evaluate_and_save(step, state, resumed=step == start)
            with journal.speed.paused():
                self.profile.between(step, journal.read)
            # 3. Take the batch: a function of the step, so a resumed run takes the same one.
            with journal.speed.waiting():
                batch = next(batches)
            # 4. Step. The old state is donated; nothing may read it from here on.
            with jax.profiler.StepTraceAnnotation("step", step_num=step + 1):
                state, metrics = training.step(state, batch, *training.constants)
            # 5. Log the step before, so that the device never waits for the host.
            journal.add(step + 1, metrics)
            if step == start:
                journal.read()
        journal.read()
        self._finish(num_steps, state)
        return state

    def _evaluate_and_save(self, step: int, state: State, resumed: bool) -> None:
        self.checkpoints.check(step, state)
        signal = self.stop.requested()
        evaluate = self.schedule.evaluates(step)
        save = self.schedule.saves(step) and not resumed
        if evaluate and resumed:
            # Due when the run was stopped: made now, unless its line is there already.
            evaluate = not processes.first_says(self.writer.last_evaluation == step)
        if not (evaluate or save or signal):
            return
        # The newest metrics decide whether this state is good; a bad one never replaces a good one.
        self.journal.read()
        if evaluate and not signal:
            signal = self._evaluate(step, state)
        if (save or signal) and step > 0:
            self._save(step, state)
        if signal:
            self._stop(step, state, signal)

    def _stop(self, step: int, state: State, signal: signals.Signals) -> NoReturn:
        """Ends the run, whose state has been given to be saved."""
        self.checkpoints.wait(step, state)
        hint = stopping.resume_hint(self.workdir, just_saved=step or None)
        raise stopping.RunStoppedError(
            f"stopped by {signal.name} at step {step}; {hint}", signal.value
        )

    def _evaluate(self, step: int, state: State) -> signals.Signals | None:
        """Evaluates, or returns the signal for which it was given up: the next start makes it."""
        values: dict[str, float] = {}
        with self.journal.speed.paused("evaluation"):
            for name, evaluator in self.training.evaluators.items():
                for pair in evaluator(state):
                    if pair is not None:
                        values[f"eval/{name}/{pair[0]}"] = float(pair[1])
                    elif signal := self.stop.requested():
                        return signal
        bad = [f"{key} is {value}" for key, value in values.items() if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"step {step}: {', '.join(bad)}; lower optimizer.peak_lr or look at the held-out "
                "data"
            )
        if values:
            self.writer.write(step, values)
            shown = [f"{k} {v:.4f}" for k, v in values.items() if "/loss_by_" not in k]
            _log("step %d: %s", step, ", ".join(shown))
        return None

    def _save(self, step: int, state: State) -> None:
        with self.journal.speed.paused("checkpoint"):
            self._start_save(step, state)
        self.schedule.saved()

    def _start_save(self, step: int, state: State) -> None:
        bad = finite.first_not_finite(state)
        if bad is not None:
            raise FloatingPointError(
                f"step {step}: its update left NaN or infinity in {bad}, although its loss was "
                "finite; this state was not saved; lower optimizer.peak_lr"
            )
        in_use.require(self.workdir, self.owner)
        member.share(f"the save of step {step}")
        # Lines before a checkpoint are never written again.
        self.writer.sync()
        more: dict[str, Any] = {_GOODPUT: self.journal.goodput.record()}
        # Of the steps since the last line: none where one was just written.
        if groups := self.journal.groups.saved():
            more[_GROUPS] = groups
        self.checkpoints.save(step, state, self.journal.totals | more)
        self.training.after_save(step, state)

    def _finish(self, step: int, state: State) -> None:
        signal = self._evaluate(step, state)
        self._save(step, state)
        if signal:
            self._stop(step, state, signal)
        self.checkpoints.wait(step, state)
        _log("finished at step %d; checkpoint in %s", step, self.checkpoints.folder / str(step))


def _log(message: str, *values: Any) -> None:
    if jax.process_index() == 0:
        logging.info(message, *values)
