"""Parts of objects, many at a time, through tensorstore: its requests run outside Python's lock."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import tensorstore as ts

from lvm_jax.storage import paths, patience
from lvm_jax.storage.paths import StorePath

_CONCURRENT = 128
# tensorstore's own tries; `patience` makes more of them.
_FEW_SECONDS = 3.0
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0


def use_emulator() -> None:
    """Lets tensorstore find an emulator of GCS where the other libraries find it."""
    if host := os.environ.get("STORAGE_EMULATOR_HOST"):
        os.environ.setdefault("TENSORSTORE_GCS_HTTP_URL", host)


def retries(seconds: float) -> dict[str, Any]:
    """Settings of tensorstore by which it tries again for about so many seconds."""
    delay, waited, number = _FIRST_DELAY, 0.0, 0
    while waited + delay <= seconds:
        waited, delay, number = waited + delay, min(2 * delay, _LONGEST_DELAY), number + 1
    return {
        "max_retries": max(1, number),
        "initial_delay": f"{_FIRST_DELAY}s",
        "max_delay": f"{_LONGEST_DELAY}s",
    }


def spec(path: StorePath) -> dict[str, Any]:
    """What tensorstore calls an object, or everything below a directory.

    Endpoint and region are those of the environment, as botocore reads them too.
    """
    key = path.key.partition("/")[2]
    if path.scheme == "gs":
        return {"driver": "gcs", "bucket": path.bucket, "path": key}
    described: dict[str, Any] = {"driver": "s3", "bucket": path.bucket, "path": key}
    environ = os.environ
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        # An endpoint says nothing of its region, and tensorstore would ask AWS.
        described |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
    elif region:
        described["aws_region"] = region
    return described


def key_values(folder: pathlib.Path) -> dict[str, Any]:
    """What tensorstore calls a folder of a disk or a store, as a place for keys."""
    stored = paths.store_path(folder)
    if stored is None:
        return {"driver": "file", "path": f"{folder}/"}
    described = spec(stored)
    return {**described, "path": f"{described['path']}/"}


def read(wanted: Sequence[tuple[StorePath, int, int]]) -> list[bytes]:
    """Bytes [start, stop) of objects, in the order asked for.

    Args:
        wanted: object, start and stop, of one bucket.

    Raises:
        StoreError: what a store does not give, or gives too little of; names the object.
    """
    if not wanted:
        return []
    bucket = _open(StorePath(wanted[0][0].scheme, wanted[0][0].bucket))
    parts = []
    for begin in range(0, len(wanted), _CONCURRENT):
        begun = [_Reading(bucket, *one) for one in wanted[begin : begin + _CONCURRENT]]
        parts += [patience.ask(str(reading.path), reading.finish) for reading in begun]
    return parts


class _Reading:
    """One request that is under way; begun anew each time that it is to be finished again."""

    def __init__(self, bucket: ts.KvStore, path: StorePath, start: int, stop: int):
        self.path = path
        self._num_bytes = stop - start
        key = path.key.partition("/")[2]
        self._begin = lambda: bucket.read(key, byte_range=slice(start, stop))
        self._future = self._begin()

    def finish(self) -> bytes:
        if self._future is None:
            self._future = self._begin()
        future, self._future = self._future, None
        result = future.result()
        if result.state != "value":
            raise FileNotFoundError(f"{self.path} is not there")
        if len(result.value) != self._num_bytes:
            raise ValueError(f"{len(result.value)} of {self._num_bytes} bytes came")
        return result.value


@functools.cache
def _open(bucket: StorePath) -> ts.KvStore:
    use_emulator()
    driver = "gcs" if bucket.scheme == "gs" else "s3"
    context = ts.Context(
        {
            f"{driver}_request_retries": retries(_FEW_SECONDS),
            f"{driver}_request_concurrency": {"limit": _CONCURRENT},
        }
    )
    return ts.KvStore.open(spec(bucket), context=context).result()
