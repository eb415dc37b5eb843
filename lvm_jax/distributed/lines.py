"""Messages between processes: JSON objects, one a line, over a connected socket."""

import contextlib
import json
import socket
from typing import Any

Message = dict[str, Any]
# A host that vanished without closing its connections is noticed after about this many seconds.
_SILENCE = 20
_WAIT_SECONDS = 10


class Line:
    """One end of a connection."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._rest = b""
        connection.settimeout(_WAIT_SECONDS)
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            _keep_alive(connection)

    def fileno(self) -> int:
        return self._connection.fileno()

    def send(self, message: Message) -> None:
        """Sends a message; that the other end is gone is left to `receive` to notice."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[Message] | None:
        """What has arrived, after a wait of some seconds at most; None when the line has ended."""
        try:
            received = self._connection.recv(1 << 16)
            *whole, self._rest = (self._rest + received).split(b"\n")
            messages = [json.loads(line) for line in whole]
        except TimeoutError:
            return []
        except (OSError, ValueError):  # broken off, or not one of us at the other end
            return None
        known = all(isinstance(message, dict) for message in messages)
        return messages if received and known else None

    def close(self) -> None:
        self._connection.close()


def pair() -> tuple[Line, Line]:
    """Both ends of a line within a machine."""
    one, other = socket.socketpair()
    return Line(one), Line(other)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = {"TCP_KEEPIDLE": _SILENCE // 2, "TCP_KEEPINTVL": _SILENCE // 10, "TCP_KEEPCNT": 5}
    for name, value in probes.items():
        if hasattr(socket, name):  # the system's own times elsewhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
