"""What tells a run to stop: signals, and a platform that is about to take a machine away.

Whoever runs machines for others says before it takes one back. Slurm sends a signal (--signal) and
Kubernetes SIGTERM; Google's machines also say it at an address that only they can reach, up to half
a minute before. What is said there becomes a SIGTERM to the process that was started, so that there
is one way to stop.
"""

import pathlib
import signal
import threading
import urllib.request
from collections.abc import Callable

from absl import logging

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Each asks for a save and an end."""
# https://cloud.google.com/compute/docs/instances/create-use-spot and .../get-maintenance-notice
_GOOGLE = "http://metadata.google.internal/computeMetadata/v1/instance"
_SAID_BEFORE = {"preempted": "TRUE", "maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE"}
_PRODUCT = pathlib.Path("/sys/class/dmi/id/product_name")
_ASK_EVERY = 5.0
_ANSWER_SECONDS = 5.0


def watch(whom: str, *, product: pathlib.Path = _PRODUCT) -> threading.Thread | None:
    """Sends this process SIGTERM once its machine is said to go.

    Args:
        whom: see `DistributedConfig.preemption_notice`.
        product: file that names the kind of machine.

    Returns:
        The thread that asks; None where nobody is asked.
    """
    address = _GOOGLE if whom == "auto" else whom
    if whom == "none" or (whom == "auto" and not _is_google(product)):
        return None

    def ask_until_told() -> None:
        told = wait_until_told(address, threading.Event().wait)
        logging.warning("this machine is about to be taken away (%s)", told)
        main = threading.main_thread().ident
        assert main is not None, "it runs"
        signal.pthread_kill(main, signal.SIGTERM)

    thread = threading.Thread(target=ask_until_told, name="notice", daemon=True)
    thread.start()
    return thread


def wait_until_told(address: str, wait: Callable[[float], object]) -> str:
    """Returns what a server said when it says that the machine goes.

    Args:
        address: URL above `preempted` and `maintenance-event`.
        wait: called with seconds between two times of asking.
    """
    silent = False
    while True:
        for name, word in _SAID_BEFORE.items():
            request = urllib.request.Request(
                f"{address}/{name}", headers={"Metadata-Flavor": "Google"}
            )
            try:
                with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                    text = answer.read(1000).decode(errors="replace").strip()
            except OSError as error:
                if not silent:
                    logging.warning("%s/%s does not answer: %s", address, name, error)
                silent = True
            else:
                if text == word:
                    return f"{name}={text}"
        wait(_ASK_EVERY)


def _is_google(product: pathlib.Path) -> bool:
    """As Google's own libraries find out, without asking a network."""
    try:
        return product.read_text().startswith("Google")
    except OSError:
        return False
