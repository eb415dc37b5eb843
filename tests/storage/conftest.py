"""Stores that tests write to; without the packages of the extra `stores-test` they are left out."""

import dataclasses
import os
import uuid

import pytest

from lvm_jax.storage import paths
from tests.storage import emulators

_PACKAGES = {"s3": ("s3fs", "moto.server", "flask"), "gs": ("gcsfs", "gcp_storage_emulator")}
_BUCKET = "bucket"


@dataclasses.dataclass(frozen=True)
class Store:
    """An emulated store: its scheme, a place for one test, and the proxy before it."""

    scheme: str
    root: paths.StorePath
    proxy: emulators.Proxy


@pytest.fixture(scope="session", params=["gs", "s3"])
def emulated(request):
    scheme = request.param
    for package in _PACKAGES[scheme]:
        pytest.importorskip(package)
    start = {"gs": emulators.gcs, "s3": emulators.s3}[scheme]
    with start(_BUCKET) as (proxy, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        # Quick to give up, so that a test of giving up is short.
        patch.setenv("LVM_STORE_PATIENCE", "20")
        yield scheme, proxy


@pytest.fixture
def store(emulated):
    scheme, proxy = emulated
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition("[")[0]
    root = paths.StorePath(scheme, f"{_BUCKET}/{test}-{uuid.uuid4().hex[:8]}")
    return Store(scheme, root, proxy)
