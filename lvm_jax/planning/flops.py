"""FLOPs that a train step executes, counted in its jaxpr.

A multiply and an add count as two, and only matrix products and convolutions count, as in
`model.flops`; but here as often as they run: scans multiply, recomputation under remat and the
masked half of attention's scores are included. Nothing is compiled.

    dot_general: 2 x elements of the result x elements contracted

Kernels (Pallas, cuDNN) are opaque, and only attention has them: `kernels` works theirs out.
Attention in plain JAX has its products in the jaxpr like all others; nothing is counted twice,
since each equation is either one or the other.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from jax.extend import core

from lvm_jax.model import flops as model_flops
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.planning import kernels

Kind = Literal["matrices", "head", "attention", "other"]
# The scope that jax.checkpoint puts around what it runs again in the backward pass.
_RECOMPUTED = "rematted_computation"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlopsCount:
    """FLOPs of one train step, all devices together.

    Attributes:
        matrices: products with the layers' kernels.
        head: products with the output matrix.
        attention: scores and what is made of them.
        other: all other products.
        recomputed: what of the above runs a second time, under remat; attention's own backward
            pass also makes its scores again, which is not in here.
        eight_bit: what of the above is of operands of eight bits (`TransformerConfig.products`).
        model: what the model needs, by `model.flops.train_flops_per_token`.
        kernels: opaque calls whose FLOPs were worked out, executions on each device.
        unknown_loops: loops whose length is not known before they run; counted as one round.
    """

    matrices: float
    head: float
    attention: float
    other: float
    recomputed: float
    eight_bit: float
    model: float
    kernels: int
    unknown_loops: int

    @property
    def total(self) -> float:
        """Everything that is executed."""
        return self.matrices + self.head + self.attention + self.other

    @property
    def ratio(self) -> float:
        """Executed to needed: 1.33 when a forward pass runs twice."""
        return self.total / self.model


def count(
    jaxpr: core.ClosedJaxpr, config: TransformerConfig, rows: int, context: int
) -> FlopsCount:
    """FLOPs of a train step.

    Args:
        jaxpr: of the step, `step.trace(state, batch).jaxpr`.
        config: the model, whose sizes tell products apart.
        rows: of the global batch.
        context: ids per row.
    """
    totals: dict[str, float] = dict.fromkeys(("matrices", "head", "attention", "other"), 0.0)
    recomputed, eight_bit, num_kernels, unknown_loops = 0.0, 0.0, 0, 0
    for work in _work(_open(jaxpr), 1, 1, False):
        if work.kind == "loop":
            unknown_loops += 1
            continue
        num_kernels += work.executions if work.kind == "kernel" else 0
        if work.eight_bit:
            # Attention has none.
            kind, eight_bit = "matrices", eight_bit + work.flops
        else:
            kind = "attention" if work.kind == "kernel" else _kind(work.sizes, config)
        totals[kind] += work.flops
        recomputed += work.flops if work.recomputed else 0.0
    tokens = rows * context
    return FlopsCount(
        **totals,
        recomputed=recomputed,
        eight_bit=eight_bit,
        model=tokens * model_flops.train_flops_per_token(config, context),
        kernels=num_kernels,
        unknown_loops=unknown_loops,
    )


@dataclasses.dataclass(frozen=True)
class _Work:
    """An equation that computes: a product, a kernel, or (no FLOPs) a loop of unknown length."""

    kind: Literal["product", "kernel", "loop"]
    flops: float = 0.0
    executions: int = 0
    sizes: tuple[int, ...] = ()
    recomputed: bool = False
    eight_bit: bool = False


def _work(jaxpr: Any, times: int, shards: int, recomputed: bool) -> Iterator[_Work]:
    """Everything that a jaxpr computes.

    Args:
        jaxpr: a `jax.extend.core.Jaxpr`.
        times: it runs so often on each device.
        shards: devices that each run it on a part of the arrays; 1 where arrays are whole.
        recomputed: it is run again, for a backward pass.
    """
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        again = recomputed or _RECOMPUTED in str(equation.source_info.name_stack)
        if name in ("dot_general", "conv_general_dilated"):
            flops, sizes = (_dot if name == "dot_general" else _convolution)(equation)
            eight_bit = equation.invars[0].aval.dtype.itemsize == 1
            yield _Work("product", times * shards * flops, times, sizes, again, eight_bit)
        elif kernels.is_kernel(name):
            yield _Work(
                "kernel",
                times * shards * kernels.flops(equation, _products(equation)),
                times,
                (),
                again,
            )
        elif name == "scan":
            yield from _work(_open(params["jaxpr"]), times * params["length"], shards, again)
        elif name == "while":
            rounds = _rounds(equation)
            if rounds is None and _has_work(_open(params["body_jaxpr"])):
                yield _Work("loop")
            inside = times * (1 if rounds is None else rounds)
            yield from _work(_open(params["body_jaxpr"]), inside, shards, again)
        elif name == "cond":
            branches = [list(_work(_open(b), times, shards, again)) for b in params["branches"]]
            yield from max(branches, key=lambda works: sum(work.flops for work in works))
        elif name == "shard_map":
            sizes = dict(params["mesh"].shape)
            ways = math.prod(sizes[axis] for axis in params["newly_manual_axes"])
            yield from _work(_open(params["jaxpr"]), times, shards * ways, again)
        else:
            for inner in _inner(params):
                yield from _work(inner, times, shards, again)


def _inner(params: Mapping[str, Any]) -> Iterator[Any]:
    """Jaxprs among an equation's parameters."""
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(_open(part), "eqns"):
                yield _open(part)


def _open(jaxpr: Any) -> Any:
    """A jaxpr without its constants; newer jax has one class for both."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def _has_work(jaxpr: Any) -> bool:
    return next(_work(jaxpr, 1, 1, False), None) is not None


def _dot(equation: Any) -> tuple[float, tuple[int, ...]]:
    """FLOPs of a product, and its sizes: () with batch dims, else (rows, columns, contracted)."""
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    left, right = (operand.aval.shape for operand in equation.invars[:2])
    inner = math.prod(left[dim] for dim in contracted)
    flops = 2.0 * math.prod(equation.outvars[0].aval.shape) * inner
    if batch:
        return flops, ()
    return flops, (math.prod(left) // inner, math.prod(right) // inner, inner)


def _convolution(equation: Any) -> tuple[float, tuple[int, ...]]:
    kernel = equation.invars[1].aval.shape
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    out = math.prod(equation.outvars[0].aval.shape)
    return 2.0 * out * (math.prod(kernel) // features), ()


def _rounds(equation: Any) -> int | None:
    """How often a while loop runs, where its counter and its bound are constants; else None."""
    condition = _open(equation.params["cond_jaxpr"])
    skip = equation.params["cond_nconsts"]
    carried = equation.invars[skip + equation.params["body_nconsts"] :]
    if len(condition.eqns) != 1 or condition.eqns[0].primitive.name != "lt":
        return None
    values = []
    for variable in condition.eqns[0].invars:
        if variable in condition.invars[skip:]:
            variable = carried[condition.invars.index(variable) - skip]
        if not hasattr(variable, "val"):
            return None
        values.append(int(variable.val))
    return max(values[1] - values[0], 0)


def _products(equation: Any) -> int:
    """Products in the body of a kernel, each loop once."""
    bodies = _inner(equation.params)
    return sum(work.kind == "product" for body in bodies for work in _work(body, 1, 1, False))


def _kind(sizes: tuple[int, ...], config: TransformerConfig) -> Kind:
    """What a product belongs to, by its sizes.

    A kernel [I, O] meets two of a product's sizes, forward and backward. Products of attention
    have batch dims, or in a loop over heads no batch but the head's dim.
    """
    hidden, head = config.hidden_dim, config.head_dim
    kernels = [
        (hidden, config.num_heads * head),
        (hidden, config.kv_heads * head),
        (hidden, config.mlp_dim),
    ]
    if not sizes:
        return "attention"
    if _among(sizes, (hidden, config.vocabulary.padded_size)):
        return "head"
    if any(_among(sizes, kernel) for kernel in kernels):
        return "matrices"
    return "attention" if head in sizes else "other"


def _among(sizes: tuple[int, ...], wanted: tuple[int, int]) -> bool:
    left = list(sizes)
    for size in wanted:
        if size not in left:
            return False
        left.remove(size)
    return True
