"""Whose the pictures of opened prompts are, so that a prompt that is saved of them says so."""

import hashlib
import threading

import numpy as np

from lvm_jax.demo.asking import Prompt

_MOST = 20_000  # pictures; the oldest are forgotten, since anybody may open prompts


class Credits:
    """Remembers pictures as the model sees them, with what was said of whose they are."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def note(self, prompt: Prompt, attribution: str) -> None:
        """A prompt that is shown.

        Args:
            prompt: its pictures.
            attribution: whose they are; "" if nobody says.
        """
        if not attribution:
            return
        with self._lock:
            for square in (*prompt.images, *prompt.targets):
                self._known[_digest(square)] = attribution
            while len(self._known) > _MOST:
                del self._known[next(iter(self._known))]

    def of(self, prompt: Prompt) -> str:
        """What was said of those pictures of a prompt that are known; "" if none is."""
        with self._lock:
            said = [self._known.get(_digest(s)) for s in (*prompt.images, *prompt.targets)]
        return "; ".join(dict.fromkeys(filter(None, said)))


def _digest(square: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(square).tobytes(), digest_size=16).digest()
