"""Calls in other processes: results in order, what they say, their errors, their end."""

import functools
import os
import signal
import time

import pytest

from lvm_jax import atomic
from lvm_jax.configs import ConfigError, Field
from lvm_jax.data.building import workers


def square(number, moved):
    """Later numbers are done earlier."""
    time.sleep(0.02 * (5 - number))
    moved(number)
    moved(1)
    return number * number


def fail_at_two(how, number, moved):
    """The number itself, except for 2."""
    if number == 2 and how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2 and how == "config":
        raise ConfigError(Field("limit"), "=3 is too small")
    if number == 2 and how == "disk":
        raise atomic.write_error("a/b", OSError(28, "No space left on device"))
    return number


@pytest.mark.parametrize("num_workers", [1, 3, 7])
def test_results_come_in_order_and_all_is_said(num_workers):
    said = []
    assert list(workers.run(square, range(6), num_workers, said.append)) == [0, 1, 4, 9, 16, 25]
    assert sum(said) == sum(range(6)) + 6


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_comes_as_it_was_raised_after_the_results_before_it(num_workers):
    results = workers.run(functools.partial(fail_at_two, "config"), range(5), num_workers, print)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ConfigError, match=r"^limit=3 is too small") as caught:
        next(results)
    assert caught.value.spelled(str.upper) == "LIMIT=3 is too small"
    with pytest.raises(atomic.WriteError, match=r"cannot write a/b: No space left on device"):
        list(workers.run(functools.partial(fail_at_two, "disk"), range(5), num_workers, print))


def test_a_process_that_dies_is_said():
    with pytest.raises(RuntimeError, match=r"a worker process died, .*smaller num_workers"):
        list(workers.run(functools.partial(fail_at_two, "dies"), range(5), 2, print))
