"""Makes torch_*.pt: small checkpoints as torch writes them, with what trainers put around weights.

  python -m tests.weight_files.goldens.make_torch_files     # needs torch, not lvm_jax

Values are 0, 1, 2, ... so that tests can tell every element's place.
"""

import argparse
import collections
import pathlib

import torch

HERE = pathlib.Path(__file__).parent


class Callback:
    """A class that whoever reads the file does not have."""

    def __init__(self):
        self.best = torch.tensor(1.0)


def count(*shape, dtype=torch.float32):
    return torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)


def main():
    whole = count(4, 6)
    weights = collections.OrderedDict(
        plain=count(2, 3),
        half=count(5, dtype=torch.float16),
        brain=count(5, dtype=torch.bfloat16),
        integers=count(3, dtype=torch.int64),
        scalar=torch.tensor(7.0),
        transposed=whole.t(),
        part=whole[1:3, 2:5],
        empty=count(0, 3),
        parameter=torch.nn.Parameter(count(2, 2)),
    )
    taming = {
        "epoch": 3,
        "callbacks": {Callback: Callback()},
        "hyper": argparse.Namespace(lr=1e-3),
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": count(2)}}}],
        "state_dict": weights,
    }
    torch.save(taming, HERE / "torch_zip.pt")
    torch.save(taming, HERE / "torch_legacy.pt", _use_new_zipfile_serialization=False)
    llamagen = {"model": {"a": count(2) + 1}, "ema": {"a": count(2)}, "steps": 7}
    torch.save(llamagen, HERE / "torch_ema.pt")


if __name__ == "__main__":
    main()
