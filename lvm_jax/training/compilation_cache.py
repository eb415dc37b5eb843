"""Compiled programs that outlive a process, so that a restart does not compile again."""

import jax
from absl import logging
from jax.experimental.compilation_cache import compilation_cache


def use(folder: str) -> None:
    """Keeps compiled programs in a folder; call before anything is compiled that should be there.

    The same as JAX_COMPILATION_CACHE_DIR in the environment, over which it wins. Programs that
    compile in less than a second are not worth it and are left out.

    Args:
        folder: shared by all processes of a run if it can be; "" leaves everything as it is.
    """
    if not folder:
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()  # it remembers the folder that it began with
    logging.info("compiled programs are kept in %s", folder)
