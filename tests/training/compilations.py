"""How often JAX compiles a function."""

import contextlib
from collections.abc import Iterator

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"  # also of what a cache on disk has


@contextlib.contextmanager
def counting_compilations(name: str) -> Iterator[list[float]]:
    """Yields a list that gets the seconds of every compilation of `jax.jit` of a function.

    Args:
        name: of the function.
    """
    compiled: list[float] = []

    def listen(event: str, seconds: float, **facts) -> None:
        if event == _EVENT and facts.get("fun_name") == f"jit({name})":
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
