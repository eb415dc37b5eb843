"""The training loop, one for every training.

It knows a state, a pure step and batches; whether they train a transformer or a VQGAN it does not
know. A run that is started again with the same workdir goes on after its newest checkpoint, and
because batches are a function of the step, it sees the very next rows.
"""

import dataclasses
import math
import pathlib
import platform
from collections.abc import Iterator
from typing import Any

import jax
from absl import logging

from lvm_jax import configs, trees
from lvm_jax.distributed import member
from lvm_jax.training import durations, finite, in_use, processes, recovery, stopping
from lvm_jax.training import metrics as metrics_lib
from lvm_jax.training import workdir as workdir_lib
from lvm_jax.training.checkpoints import Checkpoints
from lvm_jax.training.journal import Journal
from lvm_jax.training.training import State, Training
from lvm_jax.training.workdir import RunIdentity
from lvm_jax.version import __version__


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long to train, and what to do on the way.

    Durations are steps (1000) or text with a unit: "20k examples", "1b tokens", "2 epochs"; all but
    num_steps also "5%".

    Attributes:
        num_steps: length of the run in updates.
        log_every: steps between lines in metrics.jsonl.
        checkpoint_every: steps between checkpoints; the end of the run is always saved. 0: only it.
        eval_every: steps between evaluations; 0: only at the end.
        keep_checkpoints: how many of the newest checkpoints stay on disk.
        tensorboard: write TensorBoard event files too.
        accept_changed_data: resume although the data set is not the one the run began with.
    """

    num_steps: durations.Duration
    log_every: durations.Duration = 10
    checkpoint_every: durations.Duration = 1000
    eval_every: durations.Duration = 0
    keep_checkpoints: int = 2
    tensorboard: bool = False
    accept_changed_data: bool = False

    def __post_init__(self) -> None:
        configs.require_at_least(self, 1, "keep_checkpoints")

    def resolve(self, rates: durations.Rates) -> "LoopConfig":
        """The same with every duration in steps.

        Raises:
            ConfigError: a duration that cannot be resolved.
        """
        num_steps = durations.to_steps(self.num_steps, rates, "num_steps")
        rates = dataclasses.replace(rates, run_steps=num_steps)
        return dataclasses.replace(
            self,
            num_steps=num_steps,
            log_every=max(durations.to_steps(self.log_every, rates, "log_every"), 1),
            checkpoint_every=durations.to_steps(self.checkpoint_every, rates, "checkpoint_every"),
            eval_every=durations.to_steps(self.eval_every, rates, "eval_every"),
        )


def run(
    config: LoopConfig, workdir: pathlib.Path, identity: RunIdentity, training: Training
) -> State | None:
    """Trains from the newest whole checkpoint in `workdir`, or from the start, to the last step.

    Args:
        config: with all durations in steps (`LoopConfig.resolve`).
        workdir: the run's directory; made when missing.
        identity: which run it is; a workdir of another one is refused.
        training: with its data.

    Returns:
        The final state, or None when the run was finished before.

    Raises:
        ValueError: the workdir is another run's, cannot be written, or has checkpoints of which
            none is whole; nothing was touched.
        RunError: training failed; the message names the step and the last checkpoint.
        RunStoppedError: SIGTERM or SIGINT arrived; the state was saved.
    """
    num_steps = durations.resolved(config.num_steps)
    workdir = pathlib.Path(workdir)
    if config.tensorboard:
        with configs.within("loop"):
            metrics_lib.require_tensorboard()
    processes.require_one_config(identity.resolved)
    with in_use.claim(workdir) as owner:
        accepted = config.accept_changed_data
        workdir_lib.prepare_workdir(workdir, identity, accept_changed_data=accepted)
        processes.require_one_list(workdir)
        newest = recovery.newest_whole(workdir, together=True)
        recovery.warn(workdir, newest, "going on from")
        if newest.step is not None and newest.step >= num_steps:
            again = "raise loop.num_steps to go on"
            _log("finished before: %s is at step %d; %s", workdir, newest.step, again)
            return None
        recovery.set_aside(workdir, newest)
        with stopping.explained(workdir), stopping.StopSignal() as stop:
            return _train(config, workdir, identity, training, owner, stop)


def _train(
    config: LoopConfig,
    workdir: pathlib.Path,
    identity: RunIdentity,
    training: Training,
    owner: in_use.Owner,
    stop: stopping.StopSignal,
) -> State:
    """Opens what a run needs, goes through its steps and closes everything again."""
    assert training.batches is not None, "a training without data"
    num_steps, log_every = map(durations.resolved, (config.num_steps, config.log_every))
    with stopping.Closing() as closing:
        checkpoints = Checkpoints(workdir, identity.resolved, keep=config.keep_checkpoints)
        closing.add(checkpoints.close)
        start, state, totals = _restore_or_init(checkpoints, training)
        _log_start(config, workdir, training, start, state)
        main, board = jax.process_index() == 0, config.tensorboard
        writer = metrics_lib.MetricsWriter(
            workdir, start_step=start, tensorboard=board, active=main
        )
        closing.add(writer.close)
        progress = metrics_lib.Progress(
            start_step=start, num_steps=num_steps, unit=training.work.unit, active=main
        )
        closing.add(progress.close)
        journal = Journal(
            training.work,
            totals=totals,
            writer=writer,
            progress=progress,
            is_logged=lambda step: step % log_every == 0 or step == num_steps,
            data_metrics=training.data_metrics,
        )
        batches = training.batches(start)
        closing.add(getattr(batches, "close", lambda: None))
        opened = _Run(config, workdir, training, owner, stop, checkpoints, writer, journal)
        return opened.train(start, state, batches)


def _restore_or_init(
    checkpoints: Checkpoints, training: Training
) -> tuple[int, State, dict[str, int]]:
    """(updates made, the state after them, sums over them by name)."""
    step, names = checkpoints.latest_step(), training.work.totals.keys()
    if step is None:
        return 0, training.init_state(), dict.fromkeys(names, 0)
    state, saved = checkpoints.restore(training.abstract_state(), step), checkpoints.totals(step)
    for name in names - saved.keys():
        _log("train/%s is not counted: the checkpoint of step %d has no such sum", name, step)
    return step, state, {name: saved[name] for name in names & saved.keys()}


def _log_start(
    config: LoopConfig, workdir: pathlib.Path, training: Training, start: int, state: State
) -> None:
    devices = jax.devices()
    _log(
        "lvm_jax %s, jax %s, python %s; %d x %s in %d process(es)",
        *(__version__, jax.__version__, platform.python_version()),
        *(len(devices), devices[0].device_kind, jax.process_count()),
    )
    for line in training.summary:
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
    checkpoints: Checkpoints
    writer: metrics_lib.MetricsWriter
    journal: Journal

    def train(self, start: int, state: State, batches: Iterator[Any]) -> State:
        """The loop. Its order matters and is the same for every training."""
        training, journal = self.training, self.journal
        num_steps = durations.resolved(self.config.num_steps)
        for step in range(start, num_steps):
            # 1. Evaluate what `step` updates have made; 2. save it, if its loss was finite.
            self._evaluate_and_save(step, state, resumed=step == start)
            # 3. Take the batch: a function of the step, so a resumed run takes the same one.
            with journal.speed.waiting():
                batch = next(batches)
            # 4. Step. The old state is donated; nothing may read it from here on.
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
        signal = self.stop.requested(step)
        evaluate, save = (
            every > 0 and step % every == 0 and step > 0
            for every in map(
                durations.resolved, (self.config.eval_every, self.config.checkpoint_every)
            )
        )
        save &= not resumed
        if evaluate and resumed:
            # Due when the run was stopped: made now, unless its line is there already.
            evaluate = not processes.first_says(self.writer.last_evaluation == step)
        if not (evaluate or save or signal):
            return
        # The newest metrics decide whether this state is good; a bad one never replaces a good one.
        self.journal.read()
        with self.journal.speed.paused():
            if evaluate and not signal:
                self._evaluate(step, state)
            if (save or signal) and step > 0:
                self._save(step, state)
        if signal:
            self.checkpoints.wait(step, state)
            hint = stopping.resume_hint(self.workdir, just_saved=step or None)
            raise stopping.RunStoppedError(
                f"stopped by {signal.name} at step {step}; {hint}", signal.value
            )

    def _evaluate(self, step: int, state: State) -> None:
        values = {
            f"eval/{name}/{key}": float(value)
            for name, evaluator in self.training.evaluators.items()
            for key, value in evaluator(state)
        }
        bad = [f"{key} is {value}" for key, value in values.items() if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"step {step}: {', '.join(bad)}; lower optimizer.peak_lr or look at the held-out "
                "data"
            )
        if values:
            self.writer.write(step, values)
            _log("step %d: %s", step, ", ".join(f"{k} {v:.4f}" for k, v in values.items()))

    def _save(self, step: int, state: State) -> None:
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
        self.checkpoints.save(step, state, self.journal.totals)
        self.training.after_save(step, state)

    def _finish(self, step: int, state: State) -> None:
        self._evaluate(step, state)
        self._save(step, state)
        self.checkpoints.wait(step, state)
        _log("finished at step %d; checkpoint in %s", step, self.checkpoints.folder / str(step))


def _log(message: str, *values: Any) -> None:
    if jax.process_index() == 0:
        logging.info(message, *values)
