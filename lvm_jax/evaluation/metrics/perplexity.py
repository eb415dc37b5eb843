"""How surprised a model is by target images, given a prompt.

Paper: Bai et al. 2023, perplexity on validation tasks (Fig. 3 and 4, Table of tasks). Spec D.

Legend: N examples, B examples of one device batch, P prompt ids, L target ids, V legal ids.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lvm_jax.generation import memory, rows
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.model import transformer
from lvm_jax.model.transformer_config import TransformerConfig
from lvm_jax.rules import Rules

_ROW_AXES = ("data", "fsdp")
# Prompts may be of any length: devices share rows, where they divide, and not the ids of a row.
_SPLIT_ROWS = Rules(batch=_ROW_AXES, length=None, residual_length=None)
_WHOLE_ROWS = Rules(batch=None, length=None, residual_length=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity:
    """Two ways to sum up; they differ when examples differ in difficulty.

    Attributes:
        mean_of_perplexities: mean over examples of exp(mean NLL of the example), as LVM reports it.
        of_mean: exp(mean NLL over all ids).
        num_examples: examples behind both.
    """

    mean_of_perplexities: float
    of_mean: float
    num_examples: int


def target_nll(
    model: LanguageModel,
    prompt_ids: np.ndarray,
    target_ids: np.ndarray,
    *,
    over: Literal["codes", "all"] = "codes",
    batch_size: int = 4,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Negative log-likelihood of every target id, given the prompt and the targets before it.

    Args:
        model: the model.
        prompt_ids: int [N, P], as the model was trained BOS first or not, all of one length.
        target_ids: int [N, L] code ids; the concatenated ids of the target images.
        over: the ids that share the probability. "codes": an image id follows an image id, as when
            generating; "all": special ids too, as LVM's own evaluation does.
        batch_size: rows per device batch; smaller needs less memory. Of a model on a mesh they are
            split over its data and fsdp axes where they divide.
        progress: called with the number of examples finished since the last call.

    Returns:
        float32 [N, L], nats.

    Raises:
        ValueError: prompt and targets do not fit the context, or a target is no code id.
        RuntimeError: out of memory; says what to lower.
    """
    prompt_NP, target_NL = np.asarray(prompt_ids, np.int32), np.asarray(target_ids, np.int32)
    if prompt_NP.shape[:1] != target_NL.shape[:1] or 0 in (*prompt_NP.shape, *target_NL.shape):
        raise ValueError(f"prompts {prompt_NP.shape} and targets {target_NL.shape} do not pair up")
    ids_NS = np.concatenate([prompt_NP, target_NL], axis=1)
    if ids_NS.shape[1] - 1 > model.config.context:  # the last id is only predicted
        raise ValueError(
            f"a prompt of {prompt_NP.shape[1]} ids and targets of {target_NL.shape[1]} do not fit "
            f"the model's context of {model.config.context}; use fewer images"
        )
    vocabulary = model.vocabulary
    if target_NL.min() < 0 or target_NL.max() >= vocabulary.num_codes:
        raise ValueError(
            f"target ids {target_NL.min()}..{target_NL.max()} must be codes, "
            f"0..{vocabulary.num_codes - 1}"
        )
    num_legal = vocabulary.num_codes if over == "codes" else vocabulary.size
    rules, place = _row_places(model.mesh, batch_size)
    nll = functools.partial(
        _target_nll,
        model.params,
        config=model.config,
        mesh=model.mesh,
        rules=rules,
        num_targets=target_NL.shape[1],
        num_legal=num_legal,
    )
    score = lambda rows_B: nll(place(ids_NS[rows_B]))
    with memory.explained_rows(f"{batch_size} rows", "batch_size"):
        return rows.in_batches_of_one_size(score, len(ids_NS), batch_size, progress)


def target_nll_of_each(
    model: LanguageModel,
    prompts: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    **options: Any,
) -> list[np.ndarray]:
    """`target_nll` for examples of different lengths, in their order: float32 [L] each."""
    score = functools.partial(target_nll, model, **options)
    return rows.in_groups_of_one_shape(score, prompts, targets)


def _row_places(
    mesh: Mesh | None, batch_size: int
) -> tuple[Rules, Callable[[np.ndarray], np.ndarray | jax.Array]]:
    """How devices share rows: split where they divide, or all rows on each; and what does it."""
    if mesh is None:
        return _WHOLE_ROWS, lambda ids_BS: ids_BS
    divides = batch_size % math.prod(mesh.shape[axis] for axis in _ROW_AXES) == 0
    places = NamedSharding(mesh, PartitionSpec(_ROW_AXES if divides else None))
    rules = _SPLIT_ROWS if divides else _WHOLE_ROWS
    return rules, lambda ids_BS: jax.device_put(ids_BS, places)


@functools.partial(jax.jit, static_argnames=("config", "mesh", "rules", "num_targets", "num_legal"))
def _target_nll(
    params: Any,
    ids_BS: jax.Array,
    *,
    config: TransformerConfig,
    mesh: Mesh | None,
    rules: Rules,
    num_targets: int,
    num_legal: int,
) -> jax.Array:
    x_BSD = transformer.hidden(config, params, ids_BS[:, :-1], mesh=mesh, rules=rules)
    # The head is applied where a target follows: logits of a whole prompt would be gigabytes.
    logits_BLV = transformer.head(config, params, x_BSD[:, -num_targets:])[..., :num_legal]
    log_probabilities = jax.nn.log_softmax(logits_BLV.astype(jnp.float32), axis=-1)
    targets_BL1 = ids_BS[:, -num_targets:, None]
    nll_BL = -jnp.take_along_axis(log_probabilities, targets_BL1, axis=-1)[..., 0]
    if mesh is None:
        return nll_BL
    # All of it in every process.
    return jax.lax.with_sharding_constraint(nll_BL, NamedSharding(mesh, PartitionSpec()))


def summarize(nll: Iterable[np.ndarray]) -> Perplexity:
    """Both perplexities of the NLLs of examples, [L] nats each, summed in float64."""
    examples = [np.asarray(nll_L, np.float64) for nll_L in nll]
    return Perplexity(
        mean_of_perplexities=float(np.mean([np.exp(nll_L.mean()) for nll_L in examples])),
        of_mean=float(np.exp(np.concatenate(examples).mean())),
        num_examples=len(examples),
    )


def unigram(counts: np.ndarray) -> np.ndarray:
    """Code counts -> probabilities, one added to each count so that none is zero; float64."""
    smoothed = np.asarray(counts, np.float64) + 1
    return smoothed / smoothed.sum()


def unigram_nll(target_ids: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """NLL of every id when ids are drawn one by one from a fixed distribution; nats."""
    return -np.log(probabilities)[np.asarray(target_ids)]
