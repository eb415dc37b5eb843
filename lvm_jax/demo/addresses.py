"""Where a page listens, and for whom; and what it needs."""

import dataclasses
import errno
import importlib.util
import os
import pathlib
import socket

from lvm_jax.configs import ConfigError, Field

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
INSTALL = "pip install 'lvm_jax[demo]'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """Where a page listens, and for whom.

    Attributes:
        host: name or address of this machine.
        port: of it.
        users: (name, password) of those who may use it; nobody is asked if there are none.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    users: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.port < 2**16:
            raise ConfigError(Field("port"), f"={self.port} must lie in 1..65535")
        if self.host not in _LOOPBACK and not self.users:
            raise ConfigError(
                Field("host"),
                f"={self.host} lets others reach the page: say who may use it with ",
                Field("auth"),
                "=FILE (a line user:password for each)",
            )

    def require_free(self) -> None:
        """Tries to listen there, so that nobody waits for a model in vain.

        Raises:
            ConfigError: it is no place of this machine, or something else listens there.
        """
        try:
            family, *_, place = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                problem = (Field("port"), f"={self.port} is taken: give another one, or end what ")
                raise ConfigError(*problem, "listens there") from error
            reason = error.strerror or str(error)
            raise ConfigError(
                Field("host"), f"={self.host}, ", Field("port"), f"={self.port}: {reason}"
            ) from error


def users_of(auth: str | None) -> tuple[tuple[str, str], ...]:
    """Names and passwords.

    Args:
        auth: user:password, or a file with a line of these for each user; None for nobody.

    Raises:
        ConfigError: no such file, or a line that is none.
    """
    if auth is None:
        return ()
    lines = [auth]
    if not (":" in auth and not os.path.exists(auth)):
        try:
            lines = pathlib.Path(auth).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                Field("auth"), f"={auth} is neither user:password nor a file that can be read"
            ) from error
    pairs = [line.partition(":") for line in lines if line.strip()]
    if not pairs or not all(name.strip() and password for name, _, password in pairs):
        raise ConfigError(Field("auth"), " has a line that is not user:password")
    return tuple((name.strip(), password) for name, _, password in pairs)


def require_gradio() -> None:
    """Says how to get what the page is made with.

    Raises:
        RuntimeError: it is not installed.
    """
    # Not imported yet: that takes seconds, which what else is wrong should not wait for.
    if importlib.util.find_spec("gradio") is None:
        raise RuntimeError(f"the page needs gradio, which is not installed: {INSTALL}")
