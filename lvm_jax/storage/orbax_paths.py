"""What orbax needs to keep checkpoints on a store.

orbax 0.12 opens arrays on `gs://` with tensorstore's driver by itself and lacks the same for
`s3://`, which tensorstore has: here the two functions that it asks for a driver learn of it. They
are private, so they are looked for first, and a checkpoint on `s3://` is refused where they are
gone.
"""

import functools
from typing import Any

from lvm_jax.storage import paths, patience, ranges
from lvm_jax.storage.patience import StoreError


def prepare(folder: Any) -> None:
    """Makes orbax able to work below a folder, before it is asked to.

    Raises:
        StoreError: it cannot be, for the lack of a package or in this version of orbax.
    """
    stored = paths.store_path(folder)
    if stored is None:
        return
    stored.exists()  # says in one line what orbax would in many
    ranges.use_emulator()
    _limit_tries()
    if stored.scheme == "s3":
        try:
            _teach_s3()
        except (ImportError, AttributeError) as error:
            raise StoreError(
                *(None, f"this version of orbax cannot be made to use s3 ({error}); "),
                str(stored),
            ) from error


def _limit_tries() -> None:
    """Lets a write that fails again and again fail: tensorstore would try for a quarter of an hour.

    Where orbax keeps its settings elsewhere, it does.
    """
    from orbax.checkpoint._src.serialization import tensorstore_utils

    for name in ("_BASE_TS_CONTEXT", "_DEFAULT_OCDBT_TS_CONTEXT"):
        settings = getattr(tensorstore_utils, name, {})
        for driver in ("gcs", "s3"):
            settings[f"{driver}_request_retries"] = ranges.retries(patience.patience_seconds())


@functools.cache
def _teach_s3() -> None:
    from orbax.checkpoint._src.path import gcs_utils
    from orbax.checkpoint._src.serialization import tensorstore_utils

    for_gcs, normalized = gcs_utils.get_kvstore_for_gcs, tensorstore_utils._normalize_path
    is_gcs = tensorstore_utils._use_gcs_driver

    def get_kvstore(url: str) -> dict[str, Any]:
        stored = paths.store_path(url)
        return for_gcs(url) if stored is None or stored.scheme == "gs" else ranges.spec(stored)

    def normalize(url: str) -> str:
        return str(paths.path(url)) if url.startswith("s3:/") else normalized(url)

    def has_driver(url: str) -> bool:
        return url.startswith("s3://") or is_gcs(url)

    for module, name, function in (
        (gcs_utils, "get_kvstore_for_gcs", get_kvstore),
        (tensorstore_utils, "_normalize_path", normalize),
        (tensorstore_utils, "_use_gcs_driver", has_driver),
    ):
        setattr(module, name, function)
