"""The training loop, one for every training.

It knows a state, a pure step and batches; whether they train a transformer or a VQGAN it does not
know. A run that is started again with the same workdir goes on after its newest checkpoint, and
because batches are a function of the step, it sees the very next rows.
"""

import dataclasses
import math
import pathlib
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from absl import logging

from lvm_jax import trees
from lvm_jax.distributed import member
from lvm_jax.training import checkpoints as checkpoints_lib
from lvm_jax.training import durations, finite, in_use, one_run, processes, recovery, stopping
from lvm_jax.training import metrics as metrics_lib
from lvm_jax.training import speed as speed_lib
from lvm_jax.training import workdir as workdir_lib
from lvm_jax.version import __version__

State = Any
"""A pytree of arrays with a "params" key on top."""
Evaluator = Callable[[State], Iterable[tuple[str, float]]]
"""Yields (name, value) pairs for a state; it must not change it."""


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

    def __post_init__(self):
        if self.keep_checkpoints < 1:
            raise ValueError(f"loop.keep_checkpoints={self.keep_checkpoints} must be at least 1")

    def resolve(self, rates: durations.Rates) -> "LoopConfig":
        """The same with every duration in steps.

        Raises:
            ValueError: a duration that cannot be resolved; names its key.
        """
        num_steps = durations.to_steps(self.num_steps, rates, "loop.num_steps")
        rates = dataclasses.replace(rates, run_steps=num_steps)
        steps = {
            name: durations.to_steps(getattr(self, name), rates, f"loop.{name}")
            for name in ("log_every", "checkpoint_every", "eval_every")
        }
        steps["log_every"] = max(steps["log_every"], 1)
        return dataclasses.replace(self, num_steps=num_steps, **steps)


def run(
    config: LoopConfig,
    *,
    workdir: pathlib.Path,
    resolved: Mapping[str, Any],
    init_state: Callable[[], State],
    train_step: Callable[[State, Any], tuple[State, Mapping[str, jax.Array]]],
    batches: Callable[[int], Iterator[Any]],
    work: speed_lib.Work,
    fixed: Sequence[str] = ("model", "seed"),
    data: Sequence[str] = ("data_fingerprint",),
    free: Sequence[str] = (),
    accept_key: str = "loop.accept_changed_data",
    data_metrics: Callable[[int], Mapping[str, float]] | None = None,
    evaluators: Mapping[str, Evaluator] | None = None,
    after_save: Callable[[int, State], None] | None = None,
    summary: Sequence[str] = (),
) -> State | None:
    """Trains from the newest whole checkpoint in `workdir`, or from the start, to the last step.

    Args:
        config: with all durations in steps (`LoopConfig.resolve`).
        workdir: the run's directory; made when missing.
        resolved: the whole resolved config with fingerprints, written to workdir/config.json.
        init_state: a jitted function of no arguments with explicit output shardings. A restored
            state gets the same shardings.
        train_step: jitted, donating the state; metrics are scalars, "loss" among them.
        batches: step -> iterator over the batches of that step and the following ones.
        work: see `speed.Work`.
        fixed, data, free, accept_key: which keys of `resolved` identify the run and its data, see
            `workdir.prepare_workdir`.
        data_metrics: step -> more values to log, such as the epochs of each source.
        evaluators: name -> `Evaluator`; its values are logged as eval/<name>/<key>.
        after_save: called with (step, state) whenever a checkpoint is saved.
        summary: more lines to log at the start, such as a sharding table.

    Returns:
        The final state, or None when the run was finished before.

    Raises:
        ValueError: the workdir is another run's, cannot be written, or has checkpoints of which
            none is whole; nothing was touched.
        RunError: training failed; the message names the step and the last checkpoint.
        RunStoppedError: SIGTERM or SIGINT arrived; the state was saved.
    """
    assert isinstance(config.num_steps, int), "LoopConfig.resolve first"
    if config.tensorboard:
        metrics_lib.require_tensorboard()
    one_run.require_one_config(resolved)
    with in_use.claim(workdir) as owner:
        workdir_lib.prepare_workdir(
            workdir,
            resolved,
            fixed=fixed,
            data=data,
            free=free,
            accept_changed_data=config.accept_changed_data,
            accept_key=accept_key,
        )
        one_run.require_one_list(workdir)
        found = recovery.newest_whole(workdir, together=True)
        recovery.warn(workdir, found, "going on from")
        if found.step is not None and found.step >= config.num_steps:
            again = "raise loop.num_steps to go on"
            _log("finished before: %s is at step %d; %s", workdir, found.step, again)
            return None
        recovery.set_aside(workdir, found)
        with stopping.explained(workdir), stopping.StopSignal() as stop:
            trained = _Run(
                config, workdir, resolved, train_step, work, evaluators or {}, after_save, stop
            )
            trained.owner = owner
            trained.data_metrics = data_metrics or trained.data_metrics
            return trained.train(init_state, batches, summary)


class _Run:
    """One call of `run`: its open files and what it measures."""

    def __init__(self, config, workdir, resolved, train_step, work, evaluators, after_save, stop):
        self.config, self.work, self.stop = config, work, stop
        self.train_step, self.evaluators, self.after_save = train_step, evaluators, after_save
        self.workdir = pathlib.Path(workdir)
        self.checkpoints = checkpoints_lib.Checkpoints(
            self.workdir, resolved, keep=config.keep_checkpoints
        )
        self.speed = speed_lib.Speed(work)
        self.totals = dict.fromkeys(work.totals, 0)
        self.data_metrics: Callable[[int], Mapping[str, float]] = lambda step: {}

    def train(self, init_state, batches, summary) -> State:
        """The loop. Its order matters and is the same for every training."""
        with stopping.Closing() as closing:
            closing.add(self.checkpoints.close)
            start, state = self._restore_or_init(init_state)
            self._log_start(start, state, summary)
            num_steps, main = self.config.num_steps, jax.process_index() == 0
            self.writer = metrics_lib.MetricsWriter(
                self.workdir, start_step=start, tensorboard=self.config.tensorboard, active=main
            )
            closing.add(self.writer.close)
            self.progress = metrics_lib.Progress(
                start_step=start, num_steps=num_steps, unit=self.work.unit, active=main
            )
            closing.add(self.progress.close)
            self.pending = None
            source = batches(start)
            closing.add(getattr(source, "close", lambda: None))
            for step in range(start, num_steps):
                # 1. Evaluate what `step` updates have made; 2. save it, if its loss was finite.
                self._evaluate_and_save(step, state, resumed=step == start)
                # 3. Take the batch: a function of the step, so a resumed run takes the same one.
                with self.speed.waiting():
                    batch = next(source)
                # 4. Step. The old state is donated; nothing may read it from here on.
                state, metrics = self.train_step(state, batch)
                # 5. Log the step before, so that the device never waits for the host.
                self._read_pending()
                self.pending = (step + 1, metrics)
                if step == start:
                    self._read_pending()
            self._read_pending()
            self._finish(num_steps, state)
        return state

    def _restore_or_init(self, init_state) -> tuple[int, State]:
        step = self.checkpoints.latest_step()
        if step is None:
            return 0, init_state()
        abstract = jax.eval_shape(init_state)
        # An initialiser that states no shardings is one for a single device.
        single = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        placed = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=leaf.sharding or single
            ),
            abstract,
        )
        state = self.checkpoints.restore(placed, step)
        found = self.checkpoints.totals(step)
        for name in self.totals.keys() - found.keys():
            _log("train/%s is not counted: the checkpoint of step %d has no such sum", name, step)
        self.totals = {name: found[name] for name in self.totals.keys() & found.keys()}
        return step, state

    def _evaluate_and_save(self, step: int, state: State, resumed: bool) -> None:
        self.checkpoints.check(step, state)
        signal = self.stop.requested(step)
        evaluate, save = (
            every > 0 and step % every == 0 and step > 0
            for every in (self.config.eval_every, self.config.checkpoint_every)
        )
        save &= not resumed
        if evaluate and resumed:
            # Due when the run was stopped: made now, unless its line is there already.
            evaluate = not processes.first_says(self.writer.last_evaluation == step)
        if not (evaluate or save or signal):
            return
        # The newest metrics decide whether this state is good; a bad one never replaces a good one.
        self._read_pending()
        with self.speed.paused():
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
            for name, evaluator in self.evaluators.items()
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
        self.checkpoints.save(step, state, self.totals)
        if self.after_save is not None:
            self.after_save(step, state)

    def _read_pending(self) -> None:
        """Waits for the metrics of the newest step, checks and logs them."""
        if self.pending is None:
            return
        (step, arrays), self.pending = self.pending, None
        values = {key: float(value) for key, value in jax.device_get(dict(arrays)).items()}
        for key, value in values.items():
            if not math.isfinite(value) and ("loss" in key or key == "grad_norm"):
                raise FloatingPointError(
                    f"step {step}: {key} is {value}; lower optimizer.peak_lr or look at the batch "
                    f"of step {step - 1}"
                )
        for name in self.totals:
            self.totals[name] += round(values[self.work.totals[name]])
        first = self.speed.step_done()
        if first is not None:
            _log("first step took %.1f s, compilation included", first)
            self.progress.first_step_done()
        self.progress.update(values.get("loss"), self.speed.recent())
        if step % self.config.log_every == 0 or step == self.config.num_steps:
            seen = {f"{self.work.unit}_seen": step * self.work.units_per_step, **self.totals}
            seen = {f"train/{name}": count for name, count in seen.items()}
            train = {f"train/{key}": value for key, value in values.items()}
            measured = {**self.speed.take_window(), **self.data_metrics(step)}
            self.writer.write(step, {**train, **seen, **measured})

    def _finish(self, step: int, state: State) -> None:
        self._evaluate(step, state)
        self._save(step, state)
        self.checkpoints.wait(step, state)
        _log("finished at step %d; checkpoint in %s", step, self.checkpoints.folder / str(step))

    def _log_start(self, start: int, state: State, summary: Sequence[str]) -> None:
        devices = jax.devices()
        _log(
            "lvm_jax %s, jax %s, python %s; %d x %s in %d process(es)",
            *(__version__, jax.__version__, platform.python_version()),
            *(len(devices), devices[0].device_kind, jax.process_count()),
        )
        for line in summary:
            _log("%s", line)
        count = trees.count_parameters(state["params"])
        _log("%s parameters; config in %s", f"{count:,}", self.workdir / workdir_lib.CONFIG)
        if start:
            _log("resuming from the checkpoint of step %d of %d", start, self.config.num_steps)
        else:
            _log("starting: %d steps", self.config.num_steps)


def _log(message: str, *values: Any) -> None:
    if jax.process_index() == 0:
        logging.info(message, *values)
