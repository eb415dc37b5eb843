"""Small LLaMAs of transformers (the goldens of model/weights), as others would write them.

What is here is written after the formats' descriptions, with none of the code that it tests.
"""

import dataclasses
import json
import pathlib
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import safetensors.numpy

GOLDENS = pathlib.Path(__file__).parents[1] / "model" / "weights" / "goldens"
KINDS = ("multi_head", "grouped_query")
NUM_CODES = 61


@dataclasses.dataclass(frozen=True)
class Golden:
    """A network of transformers and what it says, see goldens/make_llamas.py."""

    fields: dict[str, Any]
    arrays: dict[str, np.ndarray]
    ids: np.ndarray
    logits: np.ndarray
    prompt: np.ndarray
    greedy: np.ndarray


def load(kind: str) -> Golden:
    with np.load(GOLDENS / f"llama_{kind}.npz") as file:
        content = dict(file)
    fields = json.loads(str(content.pop("config")))
    said = {name: content.pop(name) for name in ("ids", "logits", "prompt", "greedy")}
    return Golden(fields, content, **said)


def write_hugging_face(folder: pathlib.Path, golden: Golden, **changes: Any) -> pathlib.Path:
    """A folder with one file, as transformers' save_pretrained writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(golden.arrays, str(folder / "model.safetensors"), {"format": "pt"})
    fields = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **golden.fields}
    (folder / "config.json").write_text(json.dumps({**fields, **changes}))
    return folder


def as_easylm(golden: Golden) -> dict[tuple[str, ...], np.ndarray]:
    """The same network by EasyLM's names: (in, out) matrices, rotary pairs that are neighbours."""
    own = golden.arrays
    heads = {"q": golden.fields["num_attention_heads"], "k": golden.fields["num_key_value_heads"]}
    arrays = {
        ("transformer", "wte", "embedding"): own["model.embed_tokens.weight"],
        ("transformer", "ln_f", "kernel"): own["model.norm.weight"],
        ("lm_head", "kernel"): own["lm_head.weight"].T,
    }
    for layer in range(golden.fields["num_hidden_layers"]):
        theirs = lambda name: own[f"model.layers.{layer}.{name}.weight"]  # noqa: B023
        way = ("transformer", "h", str(layer))
        for name, part in (("wq", "q"), ("wk", "k"), ("wv", "v"), ("wo", "o")):
            matrix = theirs(f"self_attn.{part}_proj")
            if part in heads:
                out, hidden = matrix.shape
                pairs = matrix.reshape(heads[part], 2, out // heads[part] // 2, hidden)
                matrix = pairs.transpose(0, 2, 1, 3).reshape(out, hidden)
            arrays[(*way, "attention", name, "kernel")] = matrix.T
        for name, part in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
            arrays[(*way, "feed_forward", name, "kernel")] = theirs(f"mlp.{part}_proj").T
        arrays[(*way, "attention_norm", "kernel")] = theirs("input_layernorm")
        arrays[(*way, "ffn_norm", "kernel")] = theirs("post_attention_layernorm")
    return {way: np.ascontiguousarray(arrays[way]) for way in sorted(arrays)}


def packed(array: np.ndarray, most_bytes: int = 2**30) -> bytes:
    """An array as flax's to_bytes has it: an extension, or a map of them beyond a size."""

    def extension(part: np.ndarray) -> msgpack.ExtType:
        name = "bfloat16" if part.dtype == ml_dtypes.bfloat16 else part.dtype.name
        return msgpack.ExtType(1, msgpack.packb((part.shape, name, part.tobytes())))

    if array.nbytes <= most_bytes:
        return msgpack.packb(extension(array))
    flat, length = array.reshape(-1), most_bytes // array.itemsize
    parts = [flat[start : start + length] for start in range(0, flat.size, length)]
    return msgpack.packb(
        {
            "__msgpack_chunked_array__": True,
            "shape": {str(axis): size for axis, size in enumerate(array.shape)},
            "chunks": {str(number): extension(part) for number, part in enumerate(parts)},
        }
    )


def write_stream(
    path: pathlib.Path, leaves: dict[tuple[str, ...], Any], most_bytes: int = 2**30
) -> pathlib.Path:
    """A stream of EasyLM; what is no array is packed as it is."""
    with path.open("wb") as file:
        for way, leaf in leaves.items():
            is_array = isinstance(leaf, np.ndarray)
            content = packed(leaf, most_bytes) if is_array else msgpack.packb(leaf)
            file.write(msgpack.packb((list(way), content)))
    return path
