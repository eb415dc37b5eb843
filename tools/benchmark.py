"""Measures speed, prints a table, and writes JSON on request.

  python tools/benchmark.py train                  # the train step, tokens/s
  python tools/benchmark.py decode                 # prompt in, ids out
  python tools/benchmark.py tokenize --tokenizer=openmuse_f16_8192
  python tools/benchmark.py data                   # the loader, from synthetic shards
  python tools/benchmark.py data --against=jsonl   # beside a plain reader of LVM's JSON lines
  python tools/benchmark.py plan --sentences=100000000   # rows for very many sentences
  python tools/benchmark.py images                 # JPEG files in, sentences of known ids in
  python tools/benchmark.py checkpoints            # a save with and without checksums
  python tools/benchmark.py train --against=hf     # beside transformers' LlamaForCausalLM
  python tools/benchmark.py tokenize --tokenizer=openmuse_f16_8192 --batch=2 --against=torch
  python tools/benchmark.py train --preset=300m --batch=8 --context=4096 --json=train.json

Times are medians over repeats after a warm-up; compile time stands apart. With --against the
contestants take turns, and speed_ratio is the median of each turn's ratio (above 1: faster than
the rival). On a machine that others use too, cpu_ratio (processor time) is the steadier one.
"""

import dataclasses
import os
import pathlib
import sys
import time
from typing import Any

import cli
from absl import flags

_MODEL = "preset width mlp layers heads dtype remat"
# Suite -> the flags that it reads beside --json and --against.
SUITES = {
    "train": f"{_MODEL} batch context warmup repeats",
    "decode": f"{_MODEL} batch prompt ids warmup repeats",
    "tokenize": "tokenizer batch warmup repeats",
    "data": "repeats",
    "plan": "sentences records",
    "images": "warmup repeats",
    "checkpoints": "megabytes warmup repeats",
}
RIVAL_SUITES = {"hf": ("train", "decode"), "torch": ("tokenize",), "jsonl": ("data",)}

JSON = flags.DEFINE_string("json", None, "Also write the results to this file.")
AGAINST = flags.DEFINE_enum(
    "against",
    None,
    ["hf", "torch", "jsonl"],
    "Rival: hf (transformers, for train and decode; extra lvm_jax[hf]), torch (diffusers' VQModel, "
    "for tokenize; extra lvm_jax[diffusers]) or jsonl (LVM's loader, for data).",
)
REPEATS = flags.DEFINE_integer("repeats", 5, "Measurements of each contestant.", 1)
WARMUP = flags.DEFINE_integer("warmup", 1, "Runs of each contestant before that.", 0)
PRESET = flags.DEFINE_string(
    "preset", None, "Model size by name, such as 100m; replaces --width to --heads."
)
WIDTH = flags.DEFINE_integer("width", 512, "Model width.", 1)
MLP = flags.DEFINE_integer("mlp", 1376, "Width inside the MLP.", 1)
LAYERS = flags.DEFINE_integer("layers", 8, "Model layers.", 1)
HEADS = flags.DEFINE_integer("heads", 8, "Attention heads.", 1)
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute precision.")
REMAT = flags.DEFINE_enum(
    "remat", "dots", ["none", "projections", "dots", "full"], "What backward recomputes (train)."
)
BATCH = flags.DEFINE_integer(
    "batch", None, "Rows (default 2 for train, 4 for decode) or images (16 for tokenize).", 1
)
CONTEXT = flags.DEFINE_integer("context", 1024, "Ids per training row.", 1)
PROMPT = flags.DEFINE_integer("prompt", 512, "Ids per prompt (decode).", 1)
IDS = flags.DEFINE_integer("ids", 256, "Ids to generate per prompt (decode).", 1)
SENTENCES = flags.DEFINE_integer("sentences", 10_000_000, "Sentences to plan (plan).", 1)
RECORDS = flags.DEFINE_bool(
    "records", False, "Write the sentences too and time the first batch (plan)."
)
MEGABYTES = flags.DEFINE_integer("megabytes", 600, "Size of the state (checkpoints).", 1)
TOKENIZER = flags.DEFINE_string("tokenizer", "quickstart", "Tokenizer preset (tokenize).")


def main(suite: str) -> None:
    if suite not in SUITES:
        raise ValueError(f"unknown suite {suite!r}; use one of {', '.join(SUITES)}")
    if AGAINST.value and suite not in RIVAL_SUITES[AGAINST.value]:
        known = " or ".join(RIVAL_SUITES[AGAINST.value])
        raise ValueError(f"--against={AGAINST.value} has no {suite} suite; use {known}")
    cli.refuse_unread(f"suite {suite}", ("json", "against", *SUITES[suite].split()))
    if AGAINST.value == "hf":
        from benchmark_suites import hf

        hf.require()
    if AGAINST.value == "torch":
        from benchmark_suites import torch_vqgan

        torch_vqgan.require()
    _check_json()
    measure = {
        "train": _train,
        "decode": _decode,
        "tokenize": _tokenize,
        "data": _data,
        "plan": _plan,
        "images": _images,
        "checkpoints": _checkpoints,
    }[suite]
    begun = time.time()
    rows = measure()
    report = {"suite": suite, **_machine(), "seconds": time.time() - begun, "results": rows}
    report["command"] = " ".join(sys.argv[1:])
    print(f"{suite} on {report['devices']} ({report['cores']} cores), jax {report['jax']}")
    print(table(rows))
    if JSON.value:
        from lvm_jax import atomic

        atomic.write_json(JSON.value, report)


def _check_json() -> None:
    if JSON.value and not pathlib.Path(JSON.value).absolute().parent.is_dir():
        raise ValueError(f"--json={JSON.value}: its folder does not exist; make it first")


def _model(context: int):
    """The model that the flags describe, with room for `context` ids."""
    from lvm_jax.model.transformer_config import PRESETS, TransformerConfig

    changes: dict[str, Any] = {"dtype": DTYPE.value, "remat": REMAT.value, "context": context}
    if PRESET.value is None:
        return TransformerConfig(
            hidden_dim=WIDTH.value,
            mlp_dim=MLP.value,
            num_layers=LAYERS.value,
            num_heads=HEADS.value,
            **changes,
        )
    if PRESET.value not in PRESETS:
        raise ValueError(f"--preset={PRESET.value} is unknown; use one of {', '.join(PRESETS)}")
    return dataclasses.replace(PRESETS[PRESET.value], **changes)


def _train() -> list[dict[str, Any]]:
    from benchmark_suites import train

    return train.run(
        _model(CONTEXT.value),
        batch_size=BATCH.value or 2,
        context=CONTEXT.value,
        warmup=WARMUP.value,
        repeats=REPEATS.value,
        against=AGAINST.value,
    )


def _decode() -> list[dict[str, Any]]:
    from benchmark_suites import decode

    return decode.run(
        _model(PROMPT.value + IDS.value),
        batch_size=BATCH.value or 4,
        prompt_length=PROMPT.value,
        num_ids=IDS.value,
        warmup=WARMUP.value,
        repeats=REPEATS.value,
        against=AGAINST.value,
    )


def _tokenize() -> list[dict[str, Any]]:
    from benchmark_suites import tokenize

    return tokenize.run(
        preset=TOKENIZER.value,
        num_images=BATCH.value or 16,
        warmup=WARMUP.value,
        repeats=REPEATS.value,
        against=AGAINST.value,
    )


def _data() -> list[dict[str, Any]]:
    from benchmark_suites import data

    return data.run(repeats=REPEATS.value, against=AGAINST.value)


def _plan() -> list[dict[str, Any]]:
    from benchmark_suites import plan

    return plan.run(num_sentences=SENTENCES.value, write_records=RECORDS.value)


def _images() -> list[dict[str, Any]]:
    from benchmark_suites import images

    return images.run(warmup=WARMUP.value, repeats=REPEATS.value)


def _checkpoints() -> list[dict[str, Any]]:
    from benchmark_suites import checkpoints

    return checkpoints.run(megabytes=MEGABYTES.value, warmup=WARMUP.value, repeats=REPEATS.value)


def _machine() -> dict[str, Any]:
    import jax

    kinds = [device.device_kind for device in jax.devices()]
    return {
        "devices": ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))),
        "cores": os.cpu_count(),
        "jax": jax.__version__,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of one suite under one header; a value that a row lacks is a dash."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if any(row.get(key) is not None for row in rows)]
    cells = [columns] + [[_spell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))
        )
        for line in cells
    )


def _spell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    cli.run(main, ["suite"])
