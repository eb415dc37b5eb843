"""Every test sees eight CPU devices and a compilation cache that outlives the run."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(
    pathlib.Path(__file__).resolve().parents[1] / ".jax_cache"
)
# Through the environment too, so that the tools which tests start share it.
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
