"""An S3 server inside the test's own process, which remembers what it was asked."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fsspec
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class S3Server:
    """`url` is the endpoint; `asked` the method and path (with the query) of each request so far.

    `refusal(environ)` may give the status line and body that a request is answered with instead.
    """

    application: Application
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    refusal: Callable[[dict[str, Any]], tuple[str, bytes] | None] = lambda environ: None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"] + "?" * bool(environ["QUERY_STRING"]) + environ["QUERY_STRING"]
        self.asked.append((environ["REQUEST_METHOD"], path))
        if refused := self.refusal(environ):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(refused[0], [("Content-Type", "application/xml"), ("Content-Length", str(len(refused[1])))])
            return [refused[1]]
        with self.turn:  # moto loses its way when two replace one file at once
            return self.application(environ, start)

    def count(self, method: str, part: str = "") -> int:
        """How often a method was asked for with a path that holds a part."""
        return sum(own == method and part in path for own, path in self.asked)

    def put(self, path: str, data: bytes) -> None:
        """Another way into the buckets."""
        _send("PUT", f"{self.url}/{path}", data)


class Quiet(MotoRequestHandler):
    """Says nothing on stderr."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[S3Server]:
    """A server of its own port, with the empty bucket "bucket"; credentials are the environment's."""
    server = S3Server(DomainDispatcherApplication(create_backend_app))
    listener = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet)
    server.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # connections of the test before
    _send("PUT", f"{server.url}/{BUCKET}")
    server.asked.clear()
    try:
        yield server
    finally:
        server.refusal = lambda environ: None
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        _send("POST", f"{server.url}/moto-api/reset")
        listener.shutdown()
        listener.server_close()
        thread.join()


def _send(method: str, url: str, data: bytes = b"") -> None:
    urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=10).close()
