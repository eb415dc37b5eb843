"""One value that is a training: its state, its step and what goes with them.

Without data it is made of an experiment alone and can be lowered, compiled and measured, also for
devices that are not here. With data it can be run, see `loop.run`; the step is the same one, but
for losses that only data can tell apart (`labels`).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from lvm_jax.training import speed
from lvm_jax.training.group_sums import Labels

State = Any
"""A pytree of arrays with a "params" key on top."""
Evaluator = Callable[[State], Iterable[tuple[str, float] | None]]
"""Yields (name, value) pairs for a state; it must not change it.

After each batch it yields None: a moment at which the run may stop, and the evaluation is then made
by the next start. Every process of a run comes through the same ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, and on what; `dataclasses.replace` gives one without data its data.

    Attributes:
        init_state: a jitted function of no arguments with explicit output shardings. A restored
            state gets the same shardings.
        begin: makes the first state where it is not that of `init_state`, such as one from weights
            of another run: the same shapes and shardings.
        step: jitted, donating the state: (state, batch, *constants) -> (state, metrics); metrics
            are scalars, "loss" among them, and the arrays that `labels` names.
        labels: metrics that are float32 [2, groups], weighted sums and weights -> the names of
            their groups; means over all steps of a line are logged as train/<name>/<group>. Empty
            in a training without data.
        most_skipped: with a step that leaves out bad updates (its metrics then have "skipped" and
            "skipped_in_a_row"), how many it may leave out one after another; 0 without.
        abstract_batch: `jax.ShapeDtypeStruct`s with shardings in place of a batch's arrays.
        constants: what else the step reads, the same for every batch, such as the weights of
            another network: arrays, or their `jax.ShapeDtypeStruct`s as long as there are no data.
        work: see `speed.Work`.
        summary: lines to log at the start, such as a sharding table.
        batches: step -> iterator over the batches of that step and the following ones; None in a
            training without data.
        data_metrics: step -> more values to log, such as the epochs of each source.
        evaluators: name -> `Evaluator`; its values are logged as eval/<name>/<key>.
        after_save: called with (step, state) whenever a checkpoint is saved.
    """

    init_state: Callable[[], State]
    step: jax.stages.Wrapped
    abstract_batch: Any
    work: speed.Work
    labels: Labels = dataclasses.field(default_factory=dict)
    most_skipped: int = 0
    begin: Callable[[], State] | None = None
    constants: tuple[Any, ...] = ()
    summary: Sequence[str] = ()
    batches: Callable[[int], Iterator[Any]] | None = None
    data_metrics: Callable[[int], Mapping[str, float]] = lambda step: {}
    evaluators: Mapping[str, Evaluator] = dataclasses.field(default_factory=dict)
    after_save: Callable[[int, State], None] = lambda step, state: None

    def abstract_state(self) -> State:
        """`jax.ShapeDtypeStruct`s with shardings in place of a state's arrays."""
        # An initialiser that states no shardings is one for a single device.
        single = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=leaf.sharding or single
            ),
            jax.eval_shape(self.init_state),
        )

    def trace(self) -> jax.stages.Traced:
        """The step of shapes alone: `.jaxpr` to count in, `.lower().compile()` to look at."""
        return self.step.trace(self.abstract_state(), self.abstract_batch, *self.constants)
