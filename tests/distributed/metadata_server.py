"""A platform that says whether it takes a machine away, as a server on this one."""

import contextlib
import http.server
import threading
from collections.abc import Iterator


class Metadata:
    """What a server says.

    Attributes:
        address: URL above the names.
        said: name -> word; what it does not have is refused.
        asked: how often it was.
    """

    def __init__(self):
        self.address = ""
        self.said = {"preempted": "FALSE", "maintenance-event": "NONE"}
        self.asked = 0


@contextlib.contextmanager
def serving() -> Iterator[Metadata]:
    """Serves while the block runs."""
    metadata = Metadata()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            metadata.asked += 1
            known = self.headers["Metadata-Flavor"] == "Google"
            word = metadata.said.get(self.path.removeprefix("/instance/")) if known else None
            self.send_response(200 if word else 403)
            self.end_headers()
            self.wfile.write((word or "").encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        metadata.address = f"http://127.0.0.1:{server.server_port}/instance"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield metadata
        finally:
            server.shutdown()
            thread.join()
