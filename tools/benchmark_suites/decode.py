"""Generation's speed: the call that tools/generate.py makes, prompt included, greedy."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark_suites import hf, machine, timing
from lvm_jax.generation import decode_loop
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.model import cache, cached_steps, flops, transformer
from lvm_jax.model.few_rows import WeightPrecision
from lvm_jax.model.transformer_config import TransformerConfig

GREEDY = SamplingConfig(temperature=0.0)
# Below what the model computes in: precisions of the matrices and of the cache.
LOWER: dict[str, tuple[WeightPrecision, str]] = {
    "bfloat16 weights and cache": ("bfloat16", "bfloat16"),
    "int8 weights": ("int8", "compute"),
}
# Steps whose logits are compared.
ERROR_STEPS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is generated.

    Attributes:
        prompts: prompts at a time.
        candidates: of each prompt.
        prompt_length: ids per prompt.
        num_ids: ids to generate per row.
    """

    prompts: int
    candidates: int
    prompt_length: int
    num_ids: int

    @property
    def asked(self) -> AnswerConfig:
        """All rows at a time."""
        rows = self.prompts * self.candidates
        return AnswerConfig(sampling=GREEDY, batch_size=rows, num_candidates=self.candidates)

    def bound(self, config: TransformerConfig, rates: machine.Rates) -> float:
        """Least seconds: prompts read, then matrices and the filled cache once in every step."""
        length, num_ids = self.prompt_length, self.num_ids
        traffic = flops.decode_bytes(config, length, num_ids, self.prompts, self.candidates)
        return rates.bound(traffic, self.prompts * flops.prefill_flops(config, length))


def run(
    config: TransformerConfig,
    *,
    batch_size: int,
    prompt_length: int,
    num_ids: int,
    warmup: int,
    repeats: int,
    candidates: int = 1,
    lower: bool = False,
    against: str | None = None,
) -> list[dict[str, Any]]:
    """Measures prompts in, ids out.

    Args:
        config: the model; its context must hold prompt and answer.
        batch_size: prompts at a time, if each has one candidate.
        prompt_length: ids per prompt.
        num_ids: ids to generate per row.
        warmup: calls before the measurement; at least one compiles.
        repeats: calls measured.
        candidates: with more than one, that many of one prompt are measured beside as many
            separate prompts.
        lower: measure precisions below the model's, too.
        against: "hf" measures transformers' `generate` too, a call of each in turn.

    Returns:
        A row per contestant, see `timing.rows`; tokens are generated ids. Ours have compile_seconds
        (first call less a later one), bound_seconds (least traffic and arithmetic at the rates
        that this machine showed in this run, in the first row) and bound_share (its part of our
        seconds); those of lower precision logit_error (root mean square, relative) and same_ids;
        those of candidates megabytes (parameters included).
    """
    params = jax.jit(lambda seed: transformer.init_params(config, seed))(0)
    model = LanguageModel(config=config, params=params)
    rates = machine.measure(config.dtype)
    of = functools.partial(Sizes, prompt_length=prompt_length, num_ids=num_ids)
    rng = np.random.default_rng(0)
    shape = (max(batch_size, candidates), prompt_length)
    prompts = rng.integers(0, config.vocabulary.num_codes, shape)
    asked = _asked(of, batch_size, candidates, lower=lower)
    cases = {name: _case(model, prompts, *given) for name, given in asked.items()}
    first_seconds, ids = _first_calls(cases)
    if against == "hf":
        cases["hf"] = hf.generate(config, prompts[:batch_size], num_ids)
    times = timing.interleave(cases, warmup=max(warmup - 1, 0), repeats=repeats)
    rows = timing.rows(times, max(batch_size, candidates) * num_ids, reference=against)
    for row, (name, (size, answer)) in zip(rows, asked.items()):
        row["compile_seconds"] = max(first_seconds[name] - row["seconds"], 0.0)
        if name not in LOWER:
            row["bound_seconds"] = size.bound(config, rates)
            row["bound_share"] = row["bound_seconds"] / row["fastest"]
        else:
            row["logit_error"] = _logit_error(model, prompts[:batch_size], answer)
            row["same_ids"] = float(np.mean(ids[name] == next(iter(ids.values()))))
        if candidates > 1:
            row["megabytes"] = size_in_megabytes(config, size, answer)
    rows[0] |= {"read_gb_s": rates.bandwidth / 1e9, "matmul_gflop_s": rates.flops / 1e9}
    if candidates > 1:
        one = of(prompts=1, candidates=1)
        rows[0]["megabytes_of_one"] = size_in_megabytes(config, one, one.asked)
        rows[0]["times_prompts"] = rows[1]["seconds"] / rows[0]["seconds"]
    return rows


def _asked(
    of: Callable[..., Sizes], batch_size: int, candidates: int, *, lower: bool
) -> dict[str, tuple[Sizes, AnswerConfig]]:
    """Contestant of ours -> what it generates, and how."""
    sizes = {"lvm_jax": of(prompts=batch_size, candidates=1)}
    if candidates > 1:
        sizes = {
            f"{candidates} candidates": of(prompts=1, candidates=candidates),
            f"{candidates} prompts": of(prompts=candidates, candidates=1),
        }
    asked = {name: (size, size.asked) for name, size in sizes.items()}
    if lower:
        first = next(iter(sizes.values()))
        for name, (weights, kept) in LOWER.items():
            asked[name] = first, dataclasses.replace(first.asked, weights=weights, cache=kept)
    return asked


def _case(
    model: LanguageModel, prompts: np.ndarray, sizes: Sizes, asked: AnswerConfig
) -> Callable[[], np.ndarray]:
    taken = list(prompts[: sizes.prompts])
    return lambda: decode_loop.continue_prompts(model, taken, sizes.num_ids, asked)


def _first_calls(
    cases: dict[str, Callable[[], np.ndarray]],
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    seconds, ids = {}, {}
    for name, case in cases.items():
        begun = time.perf_counter()
        ids[name] = case()
        seconds[name] = time.perf_counter() - begun
    return seconds, ids


def size_in_megabytes(config: TransformerConfig, sizes: Sizes, asked: AnswerConfig) -> float:
    """Memory of a device batch, parameters included."""
    needed = decode_loop.memory_needed(
        config, asked, sizes.prompt_length, sizes.num_ids, sizes.prompts
    )
    return needed / 1e6


def _logit_error(model: LanguageModel, prompts_NL: np.ndarray, asked: AnswerConfig) -> float:
    """How far logits are off, root mean square relative to theirs, when the same ids are read."""
    config, (N, L) = model.config, prompts_NL.shape
    rng = np.random.default_rng(1)
    ids_SN = jnp.asarray(rng.integers(0, config.vocabulary.num_codes, (ERROR_STEPS, N)))

    @functools.partial(jax.jit, static_argnames=("precision", "dtype"))
    def logits(params: Any, precision: WeightPrecision, dtype: str) -> jax.Array:
        lengths_N = jnp.full(N, L)
        prompts_NL_ = jnp.asarray(prompts_NL, jnp.int32)
        _, seen = cached_steps.prefill(config, params, prompts_NL_, lengths_N, dtype=dtype)
        weights = cached_steps.decode_weights(config, params, N, precision=precision)
        own = cache.with_room(cache.empty(config, N, dtype), ERROR_STEPS)

        def step(own: cache.Own, ids_N: jax.Array) -> tuple[cache.Own, jax.Array]:
            logits, own = cached_steps.decode_step(config, weights, ids_N[:, None], seen, own)
            return own, logits

        return jax.lax.scan(step, own, ids_SN)[1]

    kept = config.dtype if asked.cache == "compute" else asked.cache
    exact = logits(model.params, "compute", config.dtype)
    low = logits(model.params, asked.weights, kept)
    return float(jnp.linalg.norm(low - exact) / jnp.linalg.norm(exact))
