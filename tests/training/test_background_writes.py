"""A write that fails in the background is known at once, and by all who wait."""

import threading
import time

import jax
import orbax.checkpoint as ocp
import pytest

from lvm_jax.training import background_writes, stopping
from lvm_jax.training import workdir as workdir_lib
from tests.training import toy


class FailingFuture:
    def result(self, timeout=None):
        raise OSError("No space left on device")


@pytest.fixture
def failing_writes(monkeypatch):
    """From the second save on, what the handler writes fails when it is under way."""
    saves = []
    async_save = ocp.StandardCheckpointHandler.async_save

    async def failing(self, *args, **kwargs):
        saves.append(1)
        futures = await async_save(self, *args, **kwargs)
        return futures if len(saves) == 1 else [*futures, FailingFuture()]

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "async_save", failing)


def test_a_run_ends_soon_after_a_write_has_failed(failing_writes, tmp_path):
    seen = []

    def slow(start):
        for step, batch in enumerate(toy.batches(start), start):
            seen.append(step)
            time.sleep(0.05 * (step >= 100))  # a write takes some milliseconds
            yield batch

    with pytest.raises(stopping.RunError, match=r"cannot write checkpoints to .*No space left"):
        toy.run(tmp_path, 1000, source=slow, config={"checkpoint_every": 50})
    assert 100 <= max(seen) < 150, "not only when the next save is due"
    assert workdir_lib.latest_step(tmp_path) == 50


def test_a_failure_is_raised_while_the_others_are_waited_for(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    watch, never = background_writes.Watch(), threading.Event()
    watch.wait(lambda: None)
    with pytest.raises(ValueError, match="of its own"):
        watch.wait(lambda: int("of its own"))
    failure = OSError("No space left on device")
    threading.Timer(0.3, lambda: setattr(watch, "failure", failure)).start()
    with pytest.raises(OSError, match="No space left") as caught:
        watch.wait(never.wait)
    assert caught.value is failure
    with pytest.raises(TimeoutError, match="did not end within 1 s; it stays unfinished"):
        background_writes.Watch().wait(never.wait, most_seconds=1)
    never.set()
