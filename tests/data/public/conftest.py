"""The server, for the tests of downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from attnrec.data.public import transfer
from tests.data.public.server import Handler, Served, Web


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    monkeypatch.setattr(transfer, "TIMEOUT", 5.0)
    files: dict[str, Served] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"files": files}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Web(f"http://127.0.0.1:{server.server_port}", files)
    server.shutdown()
    thread.join()
    server.server_close()
