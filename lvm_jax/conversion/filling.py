"""Numbers from one array to another in parts, converted on the way, and none lost silently."""

from collections.abc import Iterable, Iterator

import numpy as np

from lvm_jax.weight_files import stretches


def fill(view: np.ndarray, rows: Iterable[np.ndarray], what: str, *, add: bool = False) -> None:
    """Puts an array that comes in parts along axis 0 into a view of another.

    Args:
        view: where; what the parts have beyond it in rows, or as matrices in columns, is padding.
            Its further axes are joined to one in the parts.
        rows: the parts.
        what: the array and its file, for errors.
        add: to what is there already.

    Raises:
        ValueError: a number is not finite, or does not fit the view's type.
    """
    start = 0
    for part in rows:
        into = view[start : start + len(part)]
        start += len(part)
        part = part[: len(into)]
        columns = into.size // max(len(into), 1)
        if part.ndim == 2 and part.shape[1] > columns:
            part = part[:, :columns]
        part = part.reshape(into.shape)
        if not np.isfinite(part).all():
            raise ValueError(f"{what} holds values that are not finite; is it damaged?")
        if add:
            into += part.astype(into.dtype)
        else:
            with np.errstate(over="ignore"):
                into[...] = part
            require_fits(into, what)


def require_fits(array: np.ndarray, what: str) -> None:
    """Refuses what became infinite in the type of an array.

    Raises:
        ValueError: names the array.
    """
    if array.dtype.itemsize < 4 and not np.isfinite(array).all():
        raise ValueError(f"{what} does not fit {array.dtype}; choose --dtype=float32 or bfloat16")


def parts(view: np.ndarray, dtype: np.dtype, what: str) -> Iterator[np.ndarray]:
    """An array in parts along axis 0, C order, of a type.

    Raises:
        ValueError: a number does not fit the type.
    """
    row_bytes = max(1, view.nbytes // max(1, len(view)))
    step = max(1, stretches.PART_BYTES // row_bytes)
    for start in range(0, len(view), step):
        with np.errstate(over="ignore"):
            part = np.ascontiguousarray(view[start : start + step]).astype(dtype, copy=False)
        if dtype.itemsize < view.dtype.itemsize:
            require_fits(part, what)
        yield part
