"""The rival: transformers' LlamaForCausalLM of the same size (extra: hf).

On CPU in float32, as it comes; on a GPU with what makes it fast: torch.compile, fused AdamW and,
for bfloat16, autocast over float32 parameters, as ours are.
"""

import os
from collections.abc import Callable

import numpy as np

from lvm_jax.model.transformer_config import TransformerConfig


def require() -> None:
    """Raises ValueError when the extra is not installed."""
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"--against=hf needs torch and transformers ({error}); pip install 'lvm_jax[hf]'"
        ) from error


def make_model(config: TransformerConfig):
    """A randomly initialised LlamaForCausalLM with our sizes and our padded vocabulary."""
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    llama = transformers.LlamaConfig(
        vocab_size=config.vocabulary.padded_size,
        hidden_size=config.hidden_dim,
        intermediate_size=config.mlp_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.context,
        rms_norm_eps=config.norm_eps,
        rope_theta=config.rope_theta,
        bos_token_id=config.vocabulary.bos,
        eos_token_id=config.vocabulary.eos,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(llama)


def train_step(config: TransformerConfig, ids: np.ndarray) -> Callable[[], float]:
    """One update: loss, gradients, clipping, AdamW; called again it goes on training."""
    import torch

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    model = make_model(config).to(device)
    forward = torch.compile(model) if on_gpu else model
    ids = torch.from_numpy(ids.astype(np.int64)).to(device)
    adamw = torch.optim.AdamW(
        model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=on_gpu
    )
    lower = on_gpu and config.dtype == "bfloat16"

    def step() -> float:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=lower):
            loss = forward(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        return loss.item()

    return step


def generate(
    config: TransformerConfig, prompts: np.ndarray, num_ids: int
) -> Callable[[], np.ndarray]:
    """Greedy decoding with transformers' own `generate` and its cache."""
    import torch

    model = make_model(config).eval()
    prompts = torch.from_numpy(prompts.astype(np.int64))

    def run() -> np.ndarray:
        with torch.inference_mode():
            ids = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=num_ids,
                min_new_tokens=num_ids,
                do_sample=False,
                pad_token_id=config.vocabulary.pad,
            )
        return ids[:, prompts.shape[1] :].numpy()

    return run
