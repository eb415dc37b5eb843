"""Makes llama_*.npz: small LLaMAs of transformers, what they say and how they go on.

  python tests/model/weights/goldens/make_llamas.py

Needs torch and transformers, which the tests do not. Made with torch 2.13.0 and transformers
5.24.0, in float32 on CPU. Each file holds the state_dict under its own names, and

  config   the fields of config.json, as JSON
  ids      int32 [2, 48], any ids of the vocabulary
  logits   float32 [2, 48, V] of these
  prompt   int32 [9], codes
  greedy   int32 [256], how `generate` goes on without sampling, special ids suppressed
"""

import json
import pathlib

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent
NUM_CODES, NUM_SPECIAL = 61, 6
SEED = 6
KINDS = {"multi_head": 4, "grouped_query": 2}


def make(kind: str, kv_heads: int) -> None:
    fields = {
        "vocab_size": NUM_CODES + NUM_SPECIAL,
        "hidden_size": 32,
        "intermediate_size": 56,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 320,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,  # as LLaMA has it, and LVM's released config: a code
        "eos_token_id": 2,
        # Logits far enough apart that rounding does not choose.
        "initializer_range": 0.5,
    }
    torch.manual_seed(SEED)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields)).eval()
    with torch.no_grad():
        for name, array in model.named_parameters():
            if name.endswith("norm.weight"):
                array.copy_(1 + 0.2 * torch.randn(array.shape))
    random = np.random.default_rng(7)
    ids = random.integers(0, fields["vocab_size"], (2, 48))
    prompt = random.integers(0, NUM_CODES, 9)
    # What the model's own settings say would count where these are silent: code 2 would end it.
    model.generation_config = transformers.GenerationConfig(
        max_new_tokens=256,
        do_sample=False,
        suppress_tokens=list(range(NUM_CODES, fields["vocab_size"])),
        return_dict_in_generate=True,
        output_scores=True,
    )
    with torch.no_grad():
        logits = model(torch.tensor(ids)).logits.numpy()
        given = model.generate(torch.tensor(prompt[None]))
    scores = np.sort(torch.stack(given.scores)[:, 0].numpy(), axis=-1)
    greedy = given.sequences[0, len(prompt) :].numpy()
    margin = (scores[:, -1] - scores[:, -2]).min()
    print(f"{kind}: {len(set(greedy.tolist()))} ids, the closest two logits {margin:.4f} apart")
    assert len(greedy) == 256 and margin > 1e-3
    arrays = {name: array.numpy() for name, array in model.state_dict().items()}
    np.savez_compressed(
        HERE / f"llama_{kind}.npz",
        config=np.array(json.dumps(fields)),
        ids=ids.astype(np.int32),
        logits=logits,
        prompt=prompt.astype(np.int32),
        greedy=greedy.astype(np.int32),
        **arrays,
    )


if __name__ == "__main__":
    for kind, kv_heads in KINDS.items():
        make(kind, kv_heads)
