"""Object stores on this machine, and what stands in front of them and may fail.

moto speaks S3 and gcp-storage-emulator GCS; all requests go through a `Proxy` of ours.
"""

import contextlib
import http.client
import http.server
import json
import logging
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

Rule = Callable[[str, str], int | str | float | None]
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # connections beyond it wait for seconds


class Proxy:
    """Passes requests on to a store, but for those that `rule` takes.

    Attributes:
        rule: (method, path with query) -> None to pass a request on; a status to answer instead;
            "tear" to end the connection in the middle of the answer; seconds to wait before it.
        requests: (method, path) of all that came.
    """

    def __init__(self, upstream_port: int):
        self.rule: Rule = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self._upstream_port = upstream_port
        self._conditional = threading.Lock()
        self._uploaded: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        self._few = threading.Semaphore(4)  # emulators keep few connections waiting
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # answers of two writes would take 40 ms

            def handle_one_request(self):
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def log_message(self, *_):
                pass

            def do_GET(self):
                proxy.answer(self)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def failing(self, rule: Rule) -> Iterator[None]:
        before, self.rule = self.rule, rule
        try:
            yield
        finally:
            self.rule = before

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = self._body(handler)
        self.requests.append((handler.command, handler.path))
        wanted = self.rule(handler.command, handler.path)
        if isinstance(wanted, float):
            time.sleep(wanted)
        elif isinstance(wanted, int):
            self._reply(handler, wanted, [], b"refused by the test")
            return
        status, headers, data = self._pass_on(handler, body)
        self._reply(handler, status, headers, data, torn=wanted == "tear")

    @staticmethod
    def _body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
        if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
            return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        parts = []
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            parts.append(handler.rfile.read(size))
            handler.rfile.readline()
        while handler.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _pass_on(self, handler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        url = urllib.parse.urlsplit(handler.path)
        query = urllib.parse.parse_qs(url.query)
        sent = handler.command, handler.path, dict(handler.headers), body
        # The emulator of GCS knows no preconditions and tells no generations of what it gives.
        if wanted := query.get("ifGenerationMatch"):
            with self._conditional:
                bucket = url.path.split("/b/")[1].split("/")[0]
                name = (query.get("name") or [_name_in(body)])[0]
                if self._generation(bucket, urllib.parse.quote(name, safe="")) != wanted[0]:
                    return 412, [], b"{}"
                return self._send(*sent)
        if handler.path in self._uploaded:
            return self._uploaded[handler.path]
        status, headers, data = self._send(*sent)
        # Nor does it say again that an upload ended well, as GCS does.
        if "upload_id" in query and status == 200:
            self._uploaded[handler.path] = status, headers, data
        if query.get("alt") == ["media"] and status in (200, 206):
            bucket, key = url.path.split("/b/")[1].split("/o/")
            headers = [*headers, ("x-goog-generation", self._generation(bucket, key))]
        return status, headers, data

    def _generation(self, bucket: str, key: str) -> str:
        status, _, data = self._send("GET", f"/storage/v1/b/{bucket}/o/{key}", {}, b"")
        return json.loads(data)["generation"] if status == 200 else "0"

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes):
        headers = {name: value for name, value in headers.items() if name.lower() not in _HOP}
        if body or method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        with self._few:
            connection = http.client.HTTPConnection("127.0.0.1", self._upstream_port, timeout=60)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
            connection.close()
        return response.status, response.getheaders(), data

    @staticmethod
    def _reply(handler, status, headers, data: bytes, torn: bool = False) -> None:
        length = str(len(data))
        handler.send_response(status)
        for name, value in headers:
            if name.lower() == "content-length" and handler.command == "HEAD":
                length = value
            elif name.lower() not in _HOP:
                handler.send_header(name, value)
        handler.send_header("Content-Length", length)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        handler.wfile.write(data[: len(data) // 2] if torn else data)
        if torn:
            handler.wfile.flush()
            handler.connection.shutdown(2)
            handler.close_connection = True


def _name_in(body: bytes) -> str:
    """The name that the first part of a multipart upload gives."""
    begin = body.index(b"{")
    return json.JSONDecoder().raw_decode(body[begin:].decode("latin-1"))[0]["name"]


@contextlib.contextmanager
def s3(bucket: str) -> Iterator[tuple[Proxy, dict[str, str]]]:
    """An empty store of S3: what stands before it, and the environment that leads there."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    proxy = Proxy(port)
    proxy._send("PUT", f"/{bucket}", {"Host": "127.0.0.1"}, b"")
    environment = {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        yield proxy, environment
    finally:
        proxy.close()
        server.stop()


@contextlib.contextmanager
def gcs(bucket: str) -> Iterator[tuple[Proxy, dict[str, str]]]:
    """The same for GCS."""
    from gcp_storage_emulator.server import create_server

    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    proxy = Proxy(server._api._httpd.server_address[1])
    body = json.dumps({"name": bucket}).encode()
    proxy._send("POST", "/storage/v1/b?project=test", {"Content-Type": "application/json"}, body)
    environment = {
        "STORAGE_EMULATOR_HOST": proxy.url,
        "TENSORSTORE_GCS_HTTP_URL": proxy.url,
        "GOOGLE_CLOUD_PROJECT": "test",
        "NO_GCE_CHECK": "true",
        "GCE_METADATA_HOST": "127.0.0.1:1",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    try:
        yield proxy, environment
    finally:
        proxy.close()
        server.stop()
