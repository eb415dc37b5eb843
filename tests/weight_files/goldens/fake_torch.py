"""Writes checkpoints as torch would, around any Python objects, where there is no torch."""

import contextlib
import copyreg
import io
import pickle
import sys
import types
import zipfile

import numpy as np

KINDS = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
}


class Storage:
    def __init__(self, key, array):
        self.key, self.array = key, array


def _rebuild_tensor_v2(*_):
    raise AssertionError("a reader of ours calls nothing")


@contextlib.contextmanager
def modules():
    """Stands in for the modules that a checkpoint names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in KINDS.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    before = _rebuild_tensor_v2.__module__
    _rebuild_tensor_v2.__module__ = "torch._utils"
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield torch
    finally:
        _rebuild_tensor_v2.__module__ = before
        del sys.modules["torch"], sys.modules["torch._utils"]


def save(path, tree):
    """Writes a zip checkpoint; numpy arrays become tensors."""
    storages, out = [], io.BytesIO()

    class Pickler(pickle.Pickler):
        def reducer_override(self, value):
            if not isinstance(value, np.ndarray):
                return NotImplemented
            storages.append(Storage(str(len(storages)), value))
            strides = [int(np.prod(value.shape[n + 1 :])) for n in range(value.ndim)]
            arguments = (storages[-1], 0, value.shape, tuple(strides), False, {})
            return _rebuild_tensor_v2, arguments

        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            kind = getattr(torch, KINDS[str(value.array.dtype)])
            return "storage", kind, value.key, "cpu", value.array.size

    with modules() as torch:
        Pickler(out, protocol=2).dump(tree)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("file/data.pkl", out.getvalue())
        for storage in storages:
            archive.writestr(f"file/data/{storage.key}", storage.array.tobytes())
    return path


class Odd:
    """An object of a class that no reader has, which must not come to life."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __reduce__(self):
        return copyreg.__newobj__, (type(self),), self.__dict__

    def __setstate__(self, state):
        raise AssertionError("a reader of ours calls nothing")


class Module(Odd):
    """A torch module, as pickled whole."""

    def __init__(self, **parts):
        arrays = {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
        inner = {name: part for name, part in parts.items() if name not in arrays}
        super().__init__(_parameters=arrays, _modules=inner, _buffers={}, training=False)


def module(arrays):
    """{"a.b": array} as a module of modules."""
    parts, inner = {}, {}
    for name, array in arrays.items():
        head, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = array
        else:
            parts[name] = array
    return Module(**parts, **{name: module(part) for name, part in inner.items()})
