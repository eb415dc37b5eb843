"""What XLA's compiler for CUDA must know of a GPU that is not here, in its own text form.

Field names and figures are those that XLA itself prints of an H100 80GB HBM3 (its
`GpuTargetConfigProto`, pasted in https://github.com/openxla/xla/pull/25919); an H200 is taken to
be the same chip with its own memory. Size and bandwidth of the memory are from
`devices.DEVICE_PEAKS`.
"""

from collections.abc import Mapping

from lvm_jax import devices

# Of one streaming multiprocessor of compute capability 9.0, or the same for the whole chip.
_HOPPER: Mapping[str, float] = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 48 * 1024,
    "shared_memory_per_block_optin": 227 * 1024,
    "shared_memory_per_core": 228 * 1024,
    "threads_per_core_limit": 2048,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "core_count": 132,
    "fpus_per_core": 128,
    "l2_cache_size": 50 * 2**20,
    "clock_rate_ghz": 1.98,
}


def target_config(device_kind: str) -> str:
    """The description of a GPU of the Hopper generation.

    Args:
        device_kind: a key of `devices.DEVICE_PEAKS`, which says its memory.
    """
    peak = devices.DEVICE_PEAKS[device_kind]
    chip = {
        **_HOPPER,
        "memory_bandwidth": int(peak.bandwidth),
        "device_memory_size": int(peak.memory),
    }
    fields = "\n".join(f"  {name}: {value}" for name, value in chip.items())
    return f"""
gpu_device_info {{
{fields}
  cuda_compute_capability {{ major: 9 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 7 }}
runtime_version {{ major: 12 minor: 8 }}
device_description_str: "{device_kind}"
"""
