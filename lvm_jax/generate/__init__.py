"""Prompts of images -> new images: prompts, sampling, the decode loop; callable as a function."""

import sys
import types


class _CallableModule(types.ModuleType):
    """A module that can be called.

    The public API promises `lvm_jax.generate(model, tokenizer, images)`, and the stage that does it
    is the package of the same name. Once anything imports `lvm_jax.generate.decode`, Python binds
    the package to `lvm_jax.generate`, over whatever function stood there; so the package itself
    answers the call. A module's `__class__` may be set for such purposes (Python reference, 3.3.2.4
    "Customizing module attribute access"); `__call__` must be found on the class, which is why a
    function in this file would not do.
    """

    def __call__(self, *args, **kwargs):
        # On first use, so that importing one small file of the stage stays cheap.
        from lvm_jax.generate import images

        return images.generate(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
