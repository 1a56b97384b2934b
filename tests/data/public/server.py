"""A server on the loopback address that cuts, forgets, redirects and lies, and an observer that remembers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from attnrec.data.public.catalogue import Source
from attnrec.data.public.download_observer import DownloadObserver

CONTENT = bytes(range(256)) * 8192  # 2 MiB, more than the server's and the client's buffers


@dataclass
class Served:
    """A file on the server and how it is served."""

    content: bytes
    etag: str = '"one"'
    modified: str = ""
    ranges: bool = True
    length: bool = True
    announced: int | None = None  # instead of the true length
    cut: list[int] = field(default_factory=list)  # bytes after which the next answers end
    status: int = 200
    location: str = ""
    slow: float = 0.0
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, Served]

    def do_GET(self) -> None:
        served = self.files.get(self.path, Served(b"", status=404))
        served.requests.append(dict(self.headers))
        self.close_connection = True
        time.sleep(served.slow)
        start = self._start(served)
        self._head(served, start)
        body = b"" if served.status >= 300 else served.content[start:]
        if served.cut:
            body = body[: served.cut.pop(0)]
        served.sent.append(len(body))
        try:
            self.wfile.write(body)
        except OSError:
            served.sent[-1] = -1  # the client went away, as some tests want it to

    def _start(self, served: Served) -> int:
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if not served.ranges or wanted is None or condition not in (served.etag, served.modified):
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def _head(self, served: Served, start: int) -> None:
        total = len(served.content)
        self.send_response(206 if start else served.status)
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.modified:
            self.send_header("Last-Modified", served.modified)
        if served.location:
            self.send_header("Location", served.location)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if served.status >= 300:
            self.send_header("Content-Length", "0")
        elif served.length:
            self.send_header("Content-Length", str((served.announced or total) - start))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@dataclass
class Web:
    address: str
    files: dict[str, Served]

    def serve(self, name: str, content: bytes = CONTENT, **how: Any) -> Served:
        self.files[f"/{name}"] = Served(content, **how)
        return self.files[f"/{name}"]

    def source(self, name: str, **how: Any) -> Source:
        return Source((f"{self.address}/{name}",), how.pop("size", len(CONTENT)), **how)


class Seen(DownloadObserver):
    """Remembers what it was told, and may end the download after some bytes."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.told: list[str] = []
        self.done: list[int] = []
        self.stop_at = stop_at

    def terms(self, name: str) -> None:
        self.told.append(f"terms {name}")

    def waiting(self, folder: Path) -> None:
        self.told.append("waiting")

    def progress(self, filename: str, done: int, total: int | None) -> None:
        self.done.append(done)
        if self.stop_at is not None and done >= self.stop_at:
            raise KeyboardInterrupt

    def retrying(self, reason: str) -> None:
        self.told.append("retrying")


def killed(*_: object) -> None:
    raise KeyboardInterrupt
