"""Generation's speed: the call that tools/generate.py makes, prompt included, greedy."""

import time
from typing import Any

import jax
import numpy as np

from benchmark_suites import hf, timing
from lvm_jax import devices
from lvm_jax.generation.answer_config import AnswerConfig
from lvm_jax.generation.decode_loop import continue_prompts
from lvm_jax.generation.language_model import LanguageModel
from lvm_jax.generation.sampling import SamplingConfig
from lvm_jax.model import flops, transformer
from lvm_jax.model.transformer_config import TransformerConfig

GREEDY = SamplingConfig(temperature=0.0)


def run(
    config: TransformerConfig,
    *,
    batch_size: int,
    prompt_length: int,
    num_ids: int,
    warmup: int,
    repeats: int,
    against: str | None = None,
) -> list[dict[str, Any]]:
    """Measures prompts in, ids out.

    Args:
        config: the model; its context must hold prompt and answer.
        batch_size: prompts at a time.
        prompt_length: ids per prompt.
        num_ids: ids to generate per prompt.
        warmup: calls before the measurement; at least one compiles.
        repeats: calls measured.
        against: "hf" measures transformers' `generate` too, a call of each in turn.

    Returns:
        A row per contestant, see `timing.rows`; tokens are generated ids. Ours has compile_seconds
        (first call less a later one) and bandwidth_share: the least traffic of weights and cache,
        in bytes/s, over what the device can do, where that is known.
    """
    params = jax.jit(lambda seed: transformer.init_params(config, seed))(0)
    model = LanguageModel(config=config, params=params)
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, config.vocabulary.num_codes, (batch_size, prompt_length))
    asked = AnswerConfig(sampling=GREEDY, batch_size=batch_size)
    generate = lambda: continue_prompts(model, list(prompts), num_ids, asked)
    begun = time.perf_counter()
    generate()
    first_seconds = time.perf_counter() - begun
    cases = {"lvm_jax": generate}
    if against == "hf":
        cases["hf"] = hf.generate(config, prompts, num_ids)
    times = timing.interleave(cases, warmup=max(warmup - 1, 0), repeats=repeats)
    rows = timing.rows(times, batch_size * num_ids, reference=against)
    length = prompt_length + num_ids // 2
    traffic = flops.decode_bytes_per_token(config, length, batch_size)
    traffic *= rows[0]["tokens_per_second"]
    peak = devices.device_peak(jax.devices()[0].device_kind)
    rows[0]["compile_seconds"] = max(first_seconds - rows[0]["seconds"], 0.0)
    rows[0]["gigabytes_per_second"] = traffic / 1e9
    rows[0]["bandwidth_share"] = traffic / peak.bandwidth if peak else None
    return rows
