"""Stores that tests write to; without the packages of the extra `stores-test` they are left out."""

import contextlib
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


@pytest.fixture(scope="session")
def start_emulator():
    """Scheme -> the proxy before its emulator, which runs until all tests are done.

    Libraries keep the address that they found first, so an emulator is never started again.
    """
    proxies: dict[str, emulators.Proxy] = {}
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # Quick to give up, so that a test of giving up is short.
        patch.setenv("LVM_STORE_PATIENCE", "20")

        def start(scheme: str) -> emulators.Proxy:
            if scheme not in proxies:
                emulator = {"gs": emulators.gcs, "s3": emulators.s3}[scheme]
                proxies[scheme], environment = stack.enter_context(emulator(_BUCKET))
                for name, value in environment.items():
                    patch.setenv(name, value)
            return proxies[scheme]

        yield start


@pytest.fixture(params=["gs", "s3"])
def store(request, start_emulator):
    scheme = request.param
    for package in _PACKAGES[scheme]:
        pytest.importorskip(package)
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition("[")[0]
    root = paths.StorePath(scheme, f"{_BUCKET}/{test}-{uuid.uuid4().hex[:8]}")
    return Store(scheme, root, start_emulator(scheme))
