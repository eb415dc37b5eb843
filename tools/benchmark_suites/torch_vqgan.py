"""The rival: diffusers' VQModel with the same weights (extra: diffusers), in float32."""

import os

import jax
import numpy as np

from lvm_jax.tokenizer import weights
from lvm_jax.tokenizer.vqgan import Params
from lvm_jax.tokenizer.vqgan_config import VQGANConfig


def require() -> None:
    """Raises ValueError when the extra is not installed."""
    try:
        import diffusers  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"--against=torch needs torch and diffusers ({error}); pip install 'lvm_jax[diffusers]'"
        ) from error


class Rival:
    """Images <-> ids through torch, on the GPU if JAX uses one and torch can.

    Args:
        config: a geometry that diffusers has.
        params: our weights; they are exported and loaded strictly.

    Raises:
        ValueError: diffusers has no such network.
    """

    def __init__(self, config: VQGANConfig, params: Params):
        import diffusers
        import torch

        fields, arrays = weights.to_format("diffusers", config, params)
        fields = {
            name: fields[name] for name in fields if name not in ("_class_name", "image_size")
        }
        self._signed = fields.pop("pixel_range", "zero_one") == "minus_one_one"
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        # Our side computes in full float32 too.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        self.device = "cuda" if on_gpu else "cpu"
        model = diffusers.VQModel(**fields)
        # Copies: torch writes to its arrays, ours are read-only.
        state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        model.load_state_dict(state, strict=True)
        self._model = model.eval().to(self.device)
        self._grid = config.grid_size
        self._code_dim = config.code_dim

    def encode(self, images_BHWC: np.ndarray) -> np.ndarray:
        """uint8 [B, H, W, 3] -> int ids [B, T]."""
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(images_BHWC).to(self.device)
            x = x.permute(0, 3, 1, 2).contiguous().float() / 255.0
            z = self._model.encode(2 * x - 1 if self._signed else x).latents
            ids = self._model.quantize(z)[2][2]
            return ids.reshape(len(images_BHWC), -1).cpu().numpy()

    def decode(self, ids_BT: np.ndarray) -> np.ndarray:
        """Ids [B, T] -> float32 [B, H, W, 3] in [0, 1]."""
        import torch

        with torch.inference_mode():
            ids = torch.from_numpy(ids_BT.astype(np.int64)).to(self.device)
            shape = (len(ids), self._grid, self._grid, self._code_dim)
            codes = self._model.quantize.get_codebook_entry(ids.reshape(-1), shape)
            x = self._model.decode(codes, force_not_quantize=True).sample
            x = (x + 1) / 2 if self._signed else x
            return x.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
