"""Whether a machine computes what it should: the real train step against a float32 reference.

Most of what goes wrong in such steps says nothing: a kernel that does not see segments, gradients
of grouped heads in the wrong place, a collective that sums too much. So a narrow copy of a model
takes one update in many ways, each of which must give the loss, the gradients and the update of one
device in float32 with all scores at once:

    backends      each attention backend, packed rows and whole ones, grouped heads and not
    precision     bfloat16 beside float32
    memory        remat policies, loss in chunks, micro-batches
    meshes        each axis alone and all together; with micro-batches; with bfloat16
"""

import dataclasses
import itertools
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils

from lvm_jax import mesh as mesh_lib
from lvm_jax import trees
from lvm_jax.data.feeding.data_config import DataConfig
from lvm_jax.mesh import MeshConfig
from lvm_jax.model.attention import backends
from lvm_jax.model.attention.needs import machine_of
from lvm_jax.model.transformer_config import AttentionBackend, RematPolicy, TransformerConfig
from lvm_jax.training.loop import LoopConfig
from lvm_jax.training.optimizer import OptimizerConfig
from lvm_jax.training.training import Training
from lvm_jax.training.transformer import transformer_job
from lvm_jax.training.transformer.batch import place, random_batch
from lvm_jax.training.transformer.transformer_experiment import TransformerExperiment

Precision = Literal["float32", "bfloat16"]
ONE_DEVICE = MeshConfig(data=1, fsdp=1)
Values = dict[str, np.ndarray]
"""A loss, gradients or parameters on the host, by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Errors that rounding explains, relative to the reference's norm.

    Attributes:
        loss: of the loss.
        gradient: of the worst parameter's gradient.
        update: of all parameters' change together.
    """

    loss: float
    gradient: float
    update: float


# float32 sums in another order: about 1e-6 on CPU; kernels multiply in parts of bfloat16 or
# tensorfloat32, with about 1e-4. bfloat16 keeps 8 bits: each of some ten roundings adds 0.4%.
TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(loss=2e-5, gradient=2e-3, update=2e-3),
    "bfloat16": Tolerance(loss=5e-3, gradient=5e-2, update=5e-2),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One way to compute the update.

    Attributes:
        name: for the table.
        attention, remat, dtype: of the model.
        grouped: two query heads share keys and values, instead of what the model has.
        packed: rows of several sentences and padding, rather than of one.
        mesh: which devices, and how.
        accumulation, loss_chunks: of the experiment.
    """

    name: str
    attention: AttentionBackend = "auto"
    remat: RematPolicy = "none"
    dtype: Precision = "float32"
    grouped: bool = False
    packed: bool = True
    mesh: MeshConfig = ONE_DEVICE
    accumulation: int = 1
    loss_chunks: int = 1


HEADER = f"{'case':44}  {'loss':>8}  {'gradient':>8}  {'update':>8}  verdict"
"""Over the columns of a `Result` as text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a case.

    Attributes:
        case: its name.
        loss, gradient, update: relative errors, the largest of all processes; None when it did
            not run to its end.
        worst: the parameter whose gradient differs most, of this process.
        verdict: "ok", "differs", "refused" before anything was computed, since this machine or
            model cannot run it so, or "failed" while it was.
        reason: why it was refused, or how it failed.
    """

    case: str
    loss: float | None = None
    gradient: float | None = None
    update: float | None = None
    worst: str = ""
    verdict: Literal["ok", "differs", "refused", "failed"] = "ok"
    reason: str = ""

    def __str__(self) -> str:
        errors = (self.loss, self.gradient, self.update)
        shown = "  ".join(f"{'-' if error is None else f'{error:.1e}':>8}" for error in errors)
        about = f": {self.reason}" if self.reason else ""
        if self.verdict == "differs":
            about = f" most in {self.worst}"
        return f"{self.case:44}  {shown}  {self.verdict}{about}"


def narrow(model: TransformerConfig, context: int, num_heads: int = 8) -> TransformerConfig:
    """A copy with two layers and few heads: the same head dim, grouping, proportions and ids.

    Args:
        model: any size.
        context: ids of a row.
        num_heads: query heads at most.
    """
    heads = min(num_heads, model.num_heads)
    group = min(model.num_heads // model.kv_heads, heads)
    multiple = 2 * num_heads  # divides over any mesh that the heads divide over
    mlp_dim = math.ceil(model.mlp_dim * heads / model.num_heads / multiple) * multiple
    return dataclasses.replace(
        model,
        hidden_dim=heads * model.head_dim,
        mlp_dim=mlp_dim,
        num_heads=heads,
        num_kv_heads=heads // group,
        num_layers=2,
        context=context,
        # As large as trained weights: attention then depends on what it should not see.
        init_scale=0.1,
        dtype="float32",
        products="compute",
        remat="none",
        attention="auto",
    )


def cases(num_devices: int, num_heads: int) -> Iterator[Case]:
    """What to try on so many devices, the simplest first.

    Args:
        num_devices: of the run.
        num_heads: key and value heads that the axis tensor may split.
    """
    for backend, dtype in itertools.product(
        typing.get_args(AttentionBackend), typing.get_args(Precision)
    ):
        for packed, grouped in ((True, False), (False, False), (True, True)):
            kind = f"{'packed' if packed else 'whole'}{' grouped' * grouped}"
            yield Case(
                name=f"{backend} {dtype} {kind}",
                attention=backend,
                dtype=dtype,
                packed=packed,
                grouped=grouped,
            )
    for remat in typing.get_args(RematPolicy):
        if remat != "none":
            yield Case(name=f"remat {remat}", remat=remat, dtype="bfloat16")
    yield Case(name="4 loss chunks", loss_chunks=4)
    yield Case(name="2 micro-batches", accumulation=2)
    for sizes in _meshes(num_devices, num_heads):
        mesh = MeshConfig(**dict(zip(mesh_lib.AXES, sizes)))
        if mesh != ONE_DEVICE:
            about = " ".join(f"{a} {n}" for a, n in zip(mesh_lib.AXES, sizes) if n > 1)
            yield Case(name=about, mesh=mesh)
            yield Case(name=f"{about} 2 micro-batches", mesh=mesh, accumulation=2)
            yield Case(
                name=f"{about} bfloat16 remat full", mesh=mesh, dtype="bfloat16", remat="full"
            )


def _meshes(num_devices: int, num_heads: int) -> list[tuple[int, ...]]:
    """Each axis alone, and one mesh that splits as many axes as there can be."""
    wanted = [
        tuple(num_devices if a == axis else 1 for a in mesh_lib.AXES) for axis in ("data", "fsdp")
    ]
    every, left = dict.fromkeys(mesh_lib.AXES, 1), num_devices
    for axis in ("tensor", "fsdp", "context", "data"):
        if left % 2 == 0:
            every[axis], left = 2, left // 2
    every["data"] *= left
    wanted.append(tuple(every.values()))
    for axis in ("context", "tensor"):
        size = math.gcd(num_devices, num_heads)
        wanted.append(
            tuple(
                size if a == axis else num_devices // size if a == "fsdp" else 1
                for a in mesh_lib.AXES
            )
        )
    return list(dict.fromkeys(wanted))


def run(
    model: TransformerConfig,
    *,
    context: int,
    rows_per_device: int = 2,
    devices: list[jax.Device] | None = None,
    wanted: Callable[[Case], bool] = lambda case: True,
) -> Iterator[Result]:
    """Computes all cases, one after the other.

    Args:
        model: what is narrowed, see `narrow`.
        context: ids of a row.
        rows_per_device: of the batch; even, for two micro-batches.
        devices: what is checked; None means all of the run.
        wanted: which cases.

    Yields:
        A result for each.
    """
    devices = jax.devices() if devices is None else devices
    check = _Check(narrow(model, context), context, rows_per_device * len(devices), devices)
    for case in cases(len(devices), check.model.kv_heads):
        if wanted(case):
            yield check.result(case)


class _Check:
    """The references of one machine, each computed once."""

    def __init__(
        self, model: TransformerConfig, context: int, num_rows: int, devices: list[jax.Device]
    ):
        self.model, self._devices = model, devices
        self._own = next(each for each in devices if each.process_index == jax.process_index())
        self._machine = machine_of(mesh_lib.make_mesh(ONE_DEVICE, [self._own]))
        self._experiment = TransformerExperiment(
            batch_size=num_rows,
            data=DataConfig(shards="none", context=context),
            model=model,
            optimizer=OptimizerConfig(
                clip_norm=0.0,  # the first moment is then the gradient
                warmup_steps=0,
                decay_steps=10,
                peak_lr=1e-2,
                # Adam divides by what is nearly the gradient's size. With an epsilon of about that
                # size (all gradients together have a norm of about 1), rounding, which decides the
                # signs of the smallest gradients, does not decide the update.
                eps=model.num_parameters**-0.5,
            ),
            mesh=ONE_DEVICE,
            loop=LoopConfig(num_steps=10),
        )
        self._references: dict[tuple[bool, bool], _Update] = {}

    def result(self, case: Case) -> Result:
        """One row of the table."""
        if case.attention in backends.KERNELS:
            made_for, machine = backends.BACKENDS[case.attention].needs.platform, self._machine
            if machine.platform != made_for:
                # Interpreted, as tests do, it would say nothing about this machine.
                reason = f"compiled for {made_for}; this is {machine}"
                return Result(case=case.name, verdict="refused", reason=reason)
        reference = self._reference(case.grouped, case.packed)
        try:
            training = self._training(case)
        except ValueError as error:
            return Result(case=case.name, verdict="refused", reason=_one_line(error))
        try:
            update = self._update(case, training)
        # What kernels and compilers say of shapes and machines that they were not made for.
        except (ValueError, NotImplementedError, jax.errors.JaxRuntimeError) as error:
            return Result(case=case.name, verdict="failed", reason=_one_line(error))
        errors = {
            name: _error(update.gradients[name], value)
            for name, value in reference.gradients.items()
        }
        worst = max(errors, key=lambda name: errors[name])
        whole = _error(
            np.concatenate([update.changes[name].ravel() for name in errors]),
            np.concatenate([reference.changes[name].ravel() for name in errors]),
        )
        loss = abs(update.loss - reference.loss) / abs(reference.loss)
        loss, gradient, whole = _worst_of_processes(loss, errors[worst], whole)
        allowed = TOLERANCES[case.dtype]
        # A NaN is within no tolerance.
        fits = loss <= allowed.loss and gradient <= allowed.gradient
        return Result(
            case=case.name,
            loss=loss,
            gradient=gradient,
            update=whole,
            worst=worst,
            verdict="ok" if fits and whole <= allowed.update else "differs",
        )

    def _reference(self, grouped: bool, packed: bool) -> "_Update":
        key = (grouped, packed)
        if key not in self._references:
            case = Case(name="reference", attention="xla", grouped=grouped, packed=packed)
            # One row at a time: all rows of a pod do not fit one device.
            case = dataclasses.replace(case, accumulation=self._experiment.batch_size)
            self._references[key] = self._update(case, self._training(case))
        return self._references[key]

    def _training(self, case: Case) -> Training:
        """The training of a case.

        Raises:
            ValueError: this machine or model cannot run it.
        """
        kv_heads = self.model.num_heads // 2 if case.grouped else self.model.num_kv_heads
        experiment = dataclasses.replace(
            self._experiment,
            model=dataclasses.replace(
                self.model,
                num_kv_heads=kv_heads,
                attention=case.attention,
                remat=case.remat,
                dtype=case.dtype,
            ),
            mesh=case.mesh,
            accumulation=case.accumulation,
            loss_chunks=case.loss_chunks,
        )
        # A process cannot see another's device: each has a reference of its own.
        chosen = self._devices if math.prod(case.mesh.sizes) > 1 else [self._own]
        mesh = transformer_job.make_mesh(experiment, chosen)
        return transformer_job.make_training(experiment, mesh)

    def _update(self, case: Case, training: Training) -> "_Update":
        shape = self._experiment.batch_size, self._experiment.data.context
        num_codes = self.model.vocabulary.num_codes
        # Products of float32 would be made of bfloat16 or tensorfloat32 by default.
        precision = "highest" if case.dtype == "float32" else "default"
        with jax.default_matmul_precision(precision):
            return _take_update(training, random_batch(num_codes, *shape, packed=case.packed))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Update:
    loss: float
    gradients: Values
    changes: Values


def _take_update(training: Training, batch: Values) -> _Update:
    state = training.init_state()
    before = _on_host(state["params"])
    state, metrics = training.step(
        state, place(batch, training.abstract_batch), *training.constants
    )
    after, moments = _on_host(state["params"]), _on_host(optax.tree.get(state["opt_state"], "mu"))
    return _Update(
        loss=float(metrics["loss"]),
        # From zero, the first moment is (1 - b1) times the gradient.
        gradients={name: value / (1 - OptimizerConfig.b1) for name, value in moments.items()},
        changes={name: after[name] - before[name] for name in after},
    )


def _on_host(tree: Any) -> Values:
    """Whole float32 arrays by name, the same in all processes."""
    flat = {
        name: leaf
        if leaf.is_fully_addressable
        else multihost_utils.process_allgather(leaf, tiled=True)
        for name, leaf in trees.flatten(tree).items()
    }
    return {name: np.asarray(value, np.float32) for name, value in flat.items()}


def _worst_of_processes(*errors: float) -> tuple[float, ...]:
    """The largest of each error, NaN where one is; all processes call it."""
    if jax.process_count() == 1:
        return errors
    every = multihost_utils.process_allgather(np.asarray(errors, np.float32))
    return tuple(np.max(every, axis=0).tolist())


def _error(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))
