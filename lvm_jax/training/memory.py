"""Memory of devices, where their backend counts it."""

import jax

_NAMES = {
    "bytes_in_use": "memory/in_use_bytes",
    "peak_bytes_in_use": "memory/peak_bytes",
    "bytes_limit": "memory/limit_bytes",
}


def metrics() -> dict[str, float]:
    """memory/... of the fullest device of this process; empty where nothing is counted (CPU)."""
    every = [stats for device in jax.local_devices() if (stats := _stats(device))]
    return {
        name: float(max(stats[key] for stats in every))
        for key, name in _NAMES.items()
        if every and all(key in stats for stats in every)
    }


def _stats(device: jax.Device) -> dict[str, int] | None:
    try:
        return device.memory_stats()
    except jax.errors.JaxRuntimeError:  # a plugin that has not implemented it
        return None
