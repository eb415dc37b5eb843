"""Memory of devices, where their backend counts it."""

import jax

_NAMES = {
    "bytes_in_use": "memory/in_use_bytes",
    "peak_bytes_in_use": "memory/peak_bytes",
    "bytes_limit": "memory/limit_bytes",
}


def metrics() -> dict[str, float]:
    """memory/... of the fullest device of this process; empty where nothing is counted (CPU)."""
    every = [stats for device in jax.local_devices() if (stats := device.memory_stats())]
    return {
        name: float(max(stats[key] for stats in every))
        for key, name in _NAMES.items()
        if every and all(key in stats for stats in every)
    }
