"""Asking a store again while it refuses, and saying in one line why it did when that has no end."""

import errno
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from absl import logging

PATIENCE_VARIABLE = "LVM_STORE_PATIENCE"
_PATIENCE_SECONDS = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 20.0
# The only answers below 500 after which the same request may succeed.
_TRANSIENT = (408, 425, 429)
# What `tensorstore` puts in front of errors after which the same request would fail again.
_FINAL_CODES = (
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
)
_SAID_CHARACTERS = 200

_T = TypeVar("_T")


class StoreError(OSError, RuntimeError):
    """A store does not do what it is asked: `filename`, and as `strerror` its answer and a remedy.

    A RuntimeError too, as every failure of a run that had begun well.
    """

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def patience_seconds() -> float:
    """For how long a store that refuses is asked again.

    Raises:
        ValueError: the environment variable is no number of seconds.
    """
    text = os.environ.get(PATIENCE_VARIABLE, "")
    try:
        return float(text) if text else _PATIENCE_SECONDS
    except ValueError as error:
        raise ValueError(
            f"{PATIENCE_VARIABLE}={text!r} in the environment must be a number of seconds"
        ) from error


def ask(url: str, request: Callable[[], _T]) -> _T:
    """What a request to a store returns; made again, with growing pauses, while the store refuses.

    Args:
        url: what it is about, for messages.
        request: may be called several times.

    Raises:
        FileNotFoundError, FileExistsError: the store's answers, as they are.
        StoreError: everything else that a store or the way to it gives.
    """
    patience, begun, pause, tries = patience_seconds(), time.monotonic(), _FIRST_PAUSE, 0
    while True:
        tries += 1
        try:
            return request()
        except (FileNotFoundError, FileExistsError) as error:
            number = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EEXIST
            raise type(error)(number, os.strerror(number), url) from error
        except StoreError:
            raise
        # Each library below has a family of errors of its own, without a common base.
        except Exception as error:
            waited = time.monotonic() - begun
            if is_final(error) or waited + pause > patience:
                raise _explained(url, error, tries, waited) from error
            logging.log_every_n_seconds(
                *(logging.WARNING, "%s: %s; asking again", 10, url, _said(error))
            )
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)


def is_final(error: BaseException) -> bool:
    """Whether the same request would fail again."""
    if isinstance(error, PermissionError | ImportError | TypeError) or _lacks_credentials(error):
        return True
    status = status_of(error)
    if status is not None:
        return status < 500 and status not in _TRANSIENT
    return str(error).startswith(_FINAL_CODES)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of a library, if it says so."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if str(link).startswith("Forbidden"):  # of gcsfs
            status = 403
        elif isinstance(response, dict):  # of botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        elif type(link).__module__ == "aiohttp.http_exceptions":
            status = None  # its 400 says that an answer was torn, not what the store said
        else:
            status = getattr(link, "code", None) or getattr(link, "status", None)
        if str(status).isdecimal() and 400 <= int(str(status)) < 600:
            return int(str(status))
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _lacks_credentials(error: BaseException) -> bool:
    return any("Credentials" in type(link).__name__ for link in _chain(error))


def _explained(url: str, error: BaseException, tries: int, waited: float) -> StoreError:
    status, said = status_of(error), _said(error)
    if status is not None and str(status) not in said:
        said = f"{status}, {said}"
    if isinstance(error, ImportError):
        reason = said
    elif _lacks_credentials(error) or status in (401, 403) or isinstance(error, PermissionError):
        reason = (
            f"the store refuses ({said}); give this machine credentials that may read and write "
            "there"
        )
    elif is_final(error):
        reason = f"the store refuses ({said}); look at the name of the bucket and its settings"
    else:
        reason = (
            f"the store did not answer well for {waited:.0f} s (try {tries}: {said}); what was "
            "finished is kept: start again when it answers, or wait longer with "
            f"{PATIENCE_VARIABLE}=SECONDS"
        )
    return StoreError(getattr(error, "errno", None), reason, url)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:_SAID_CHARACTERS]
