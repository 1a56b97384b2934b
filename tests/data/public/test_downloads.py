"""Downloads against a server on the loopback address that cuts, forgets, redirects and lies."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from attnrec.cli import main as entry_point
from attnrec.data.load import load_interactions
from attnrec.data.public import catalogue, download, transfer
from attnrec.data.public.catalogue import Entry, File, Source
from attnrec.data.public.download_observer import DownloadObserver
from attnrec.errors import InputError, RunError
from tests.data.reading.raw_forms import FORMS

RATINGS = FORMS["MovieLens-20M"].write(FORMS["MovieLens-20M"].rows(600)).decode()
MOVIES = "movieId,title\n" + "".join(f"{item},Film {item}\n" for item in range(1, 41))
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


def fetch(source: Source, folder: Path, limit: int = 10**8, observer: DownloadObserver | None = None) -> bytes:
    target = folder / source.filename
    transfer.fetch(source, target, limit, observer or DownloadObserver())
    assert sorted(path.name for path in folder.iterdir()) == [target.name]
    return target.read_bytes()


def interrupted(source: Source, folder: Path) -> int:
    """Ctrl-C in the middle; gives the size of the part that stays."""
    with pytest.raises(KeyboardInterrupt):
        fetch(source, folder, observer=Seen(stop_at=700_000))
    size = (folder / f"{source.filename}.part").stat().st_size
    assert 700_000 <= size < len(CONTENT)
    assert not (folder / source.filename).exists()
    return size


def test_whole_file(web: Web, tmp_path: Path) -> None:
    served, seen = web.serve("a.csv"), Seen()
    assert fetch(web.source("a.csv"), tmp_path, observer=seen) == CONTENT
    assert seen.done[0] == 0
    assert seen.done[-1] == len(CONTENT)
    assert seen.done == sorted(seen.done)
    assert served.requests[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("how", [{}, {"etag": "", "modified": "Mon, 02 Jan 2023 00:00:00 GMT"}])
def test_cut_and_resumed(web: Web, tmp_path: Path, how: dict[str, Any]) -> None:
    served, seen = web.serve("a.csv", cut=[1_000_000], **how), Seen()
    assert fetch(web.source("a.csv"), tmp_path, observer=seen) == CONTENT
    assert served.sent == [1_000_000, len(CONTENT) - 1_000_000]
    assert served.requests[1]["Range"] == "bytes=1000000-"
    assert seen.told == ["retrying"]


def test_no_resume_without_a_version(web: Web, tmp_path: Path) -> None:
    served = web.serve("a.csv", cut=[1_000_000], etag='W/"weak"')
    assert fetch(web.source("a.csv"), tmp_path) == CONTENT
    assert served.sent == [1_000_000, len(CONTENT)]


def test_server_without_ranges(web: Web, tmp_path: Path) -> None:
    served = web.serve("a.csv", cut=[1_000_000], ranges=False)
    assert fetch(web.source("a.csv"), tmp_path) == CONTENT
    assert served.sent == [1_000_000, len(CONTENT)]


def test_interrupted_then_resumed(web: Web, tmp_path: Path) -> None:
    served = web.serve("a.csv")
    size = interrupted(web.source("a.csv"), tmp_path)
    assert fetch(web.source("a.csv"), tmp_path) == CONTENT
    assert served.sent[-1] == len(CONTENT) - size


def test_file_changed_between(web: Web, tmp_path: Path) -> None:
    web.serve("a.csv")
    interrupted(web.source("a.csv"), tmp_path)
    web.serve("a.csv", CONTENT[::-1], etag='"two"')
    assert fetch(web.source("a.csv"), tmp_path) == CONTENT[::-1]


def test_server_that_resumes_a_changed_file(web: Web, tmp_path: Path) -> None:
    """A server that ignores If-Range is found out by its ETag, and the part is not used."""
    web.serve("a.csv")
    interrupted(web.source("a.csv"), tmp_path)
    served = web.serve("a.csv", CONTENT[::-1], etag='"two"', modified='"one"')
    assert fetch(web.source("a.csv"), tmp_path) == CONTENT[::-1]
    assert "Range" not in served.requests[-1]


def test_stopped_while_a_changed_file_replaces_a_part(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old part must be gone before the new version is noted, or the next call would join the two."""
    web.serve("a.csv")
    interrupted(web.source("a.csv"), tmp_path)
    web.serve("a.csv", CONTENT[::-1], etag='"two"')
    with monkeypatch.context() as patch:
        patch.setattr(transfer._Attempts, "_write", _killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(web.source("a.csv"), tmp_path)
    assert fetch(web.source("a.csv"), tmp_path) == CONTENT[::-1]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_checksum(web: Web, tmp_path: Path) -> None:
    web.serve("a.csv")
    good = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    with pytest.raises(RunError, match=r"checksum and was deleted.*with a browser to"):
        fetch(web.source("a.csv", checksum="md5:" + "0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(web.source("a.csv", checksum=f"md5:{good}"), tmp_path) == CONTENT


@pytest.mark.parametrize("announced", [True, False])
def test_too_large(web: Web, tmp_path: Path, announced: bool) -> None:
    served = web.serve("a.csv", length=announced)
    with pytest.raises(InputError, match=r"a.csv has .* above the limit of 1.0 MB; allow more with --max-size"):
        fetch(web.source("a.csv"), tmp_path, limit=1_000_000)
    part = tmp_path / "a.csv.part"
    assert not part.exists() if announced else part.stat().st_size <= 1_000_000
    assert len(served.requests) == 1


def test_length_that_is_not_kept(web: Web, tmp_path: Path) -> None:
    served = web.serve("a.csv", announced=len(CONTENT) + 5, ranges=False)
    with pytest.raises(RunError, match="cannot download"):
        fetch(web.source("a.csv"), tmp_path)
    assert len(served.requests) > transfer.RETRIES


def test_not_found_and_the_next_address(web: Web, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"404 Not Found.*if this lasts, download .* with a browser"):
        fetch(web.source("a.csv"), tmp_path)
    web.serve("b.csv")
    both = replace(web.source("a.csv"), urls=(f"{web.address}/a.csv", f"{web.address}/b.csv"))
    assert fetch(both, tmp_path) == CONTENT


def test_busy_server_is_asked_again(web: Web, tmp_path: Path) -> None:
    served, seen = web.serve("a.csv", status=503), Seen()
    with pytest.raises(RunError, match="503"):
        fetch(web.source("a.csv"), tmp_path, observer=seen)
    assert len(served.requests) == transfer.RETRIES
    assert len(seen.told) == transfer.RETRIES - 1


def test_redirects(web: Web, tmp_path: Path) -> None:
    web.serve("a.csv")
    web.serve("old.csv", status=302, location="/a.csv")
    web.serve("loop.csv", status=302, location="/loop.csv")
    assert fetch(web.source("old.csv"), tmp_path) == CONTENT
    (tmp_path / "old.csv").unlink()
    with pytest.raises(RunError, match="redirect"):
        fetch(web.source("loop.csv"), tmp_path)


def test_no_way_from_https_to_http(tmp_path: Path) -> None:
    attempts = transfer._Attempts("https://example.org/a.csv", tmp_path / "a.csv", 10, DownloadObserver())
    plain = httpx.Response(200, request=httpx.Request("GET", "http://example.org/a.csv"))
    with pytest.raises(transfer._AbsentError, match="without encryption"):
        attempts._check_way(plain)


def test_server_that_never_answers(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
    monkeypatch.setattr(transfer, "RETRIES", 2)
    web.serve("a.csv", slow=0.4)
    with pytest.raises(RunError, match=r"timed out|ReadTimeout"):
        fetch(web.source("a.csv"), tmp_path)


def test_no_server(web: Web, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot download http://127\.0\.0\.1:1/a\.csv"):
        fetch(Source(("http://127.0.0.1:1/a.csv",), 1), tmp_path)


def test_full_disk(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.serve("a.csv")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))
        with pytest.raises(RunError, match="are needed: make room, or choose another folder"):
            fetch(web.source("a.csv"), tmp_path)
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(RunError, match="No space left on device; make room"):
        fetch(web.source("a.csv"), tmp_path)


def _full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# Data sets


@pytest.fixture
def known(web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Entry, Entry]:
    """A data set in a zip and one of two files, both on the loopback server, as the whole catalogue."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member, text in (("z/ratings.csv", RATINGS), ("z/movies.csv", MOVIES), ("z/big", "0" * 99)):
            archive.writestr(member, text)
    web.serve("z.zip", content.getvalue())
    web.serve("r.csv")
    web.serve("m.json.gz", gzip.compress(b"{}"))
    digest = hashlib.md5(content.getvalue(), usedforsecurity=False).hexdigest()
    packed = web.source("z.zip", checksum=f"md5:{digest}")
    common: dict[str, Any] = {"licence": "free", "terms": "Be kind.", "page": "https://example.org/", "citation": "We."}
    one = Entry("z", "Z", **common, interactions=File(packed, "z/ratings.csv"), items=File(packed, "z/movies.csv"))
    two = Entry("r:a", "R", **common, interactions=File(web.source("r.csv")), items=File(web.source("m.json.gz")))
    monkeypatch.setattr(catalogue, "catalogue", lambda: (one, two))
    monkeypatch.setenv("ATTNREC_CACHE", str(tmp_path / "cache"))
    return one, two


def test_get_and_get_again(known: tuple[Entry, Entry], web: Web, tmp_path: Path) -> None:
    assert download.downloaded("z") is None
    seen = Seen()
    found = download.get("z", observer=seen)
    assert seen.told == ["terms z"]
    assert found.interactions.read_bytes() == RATINGS.encode()
    assert found.items is not None
    assert found.items.read_bytes() == MOVIES.encode()
    assert found.interactions.is_relative_to(tmp_path / "cache")
    assert not list(tmp_path.glob("cache/**/big"))
    assert not list(tmp_path.glob("cache/**/*.zip"))
    again = Seen()
    assert download.get("z", observer=again) == found == download.downloaded("z")
    assert again.told == []
    assert len(web.files["/z.zip"].requests) == 1


def test_titles_later(known: tuple[Entry, Entry], web: Web, tmp_path: Path) -> None:
    found = download.get("r:a", folder=tmp_path / "here", titles=False)
    assert found.items is None
    assert found.interactions == tmp_path / "here" / "r-a" / "r.csv"
    assert download.downloaded("r:a", tmp_path / "here") == found
    assert download.get("r:a", folder=tmp_path / "here").items == tmp_path / "here" / "r-a" / "m.json.gz"
    assert len(web.files["/r.csv"].requests) == 1


def test_titles_of_an_archive_come_along(known: tuple[Entry, Entry]) -> None:
    assert download.get("z", titles=False).items is not None


def test_file_put_by_hand(known: tuple[Entry, Entry], web: Web, tmp_path: Path) -> None:
    home = tmp_path / "here" / "z"
    home.mkdir(parents=True)
    (home / "z.zip").write_bytes(b"something else")
    with pytest.raises(RunError, match="has not the publisher's checksum: delete it"):
        download.get("z", folder=home.parent)
    (home / "z.zip").write_bytes(web.files["/z.zip"].content)
    assert download.get("z", folder=home.parent).interactions.is_file()
    assert web.files["/z.zip"].requests == []


def test_size_limit_counts_all_files(known: tuple[Entry, Entry]) -> None:
    with pytest.raises(InputError, match=r"m.json.gz has .* above the limit"):
        download.get("r:a", max_size=len(CONTENT) + 3)


def test_default_limit(known: tuple[Entry, Entry], web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.serve("r.csv", announced=4 * len(CONTENT) + 64_000_001)
    with pytest.raises(InputError, match=r"r.csv has .* above the limit"):
        download.get("r:a")


def test_two_at_once(known: tuple[Entry, Entry], web: Web) -> None:
    web.files["/r.csv"].slow = 0.3
    watching = [Seen(), Seen()]
    results: list[download.Downloaded] = []
    threads = [
        threading.Thread(target=lambda seen=seen: results.append(download.get("r:a", observer=seen)))
        for seen in watching
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert results[0].interactions.read_bytes() == CONTENT
    assert len(web.files["/r.csv"].requests) == 1
    assert sorted("waiting" in seen.told for seen in watching) == [False, True]


def test_folder_that_cannot_be(known: tuple[Entry, Entry], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="choose another folder"):
        download.get("z", folder=tmp_path / "file")


# The command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attnrec", "data", "get", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry_point.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_command(known: tuple[Entry, Entry], command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = command("z", "--json")
    assert code == 0
    assert out.count("\n") == 1
    result = json.loads(out)
    assert Path(result["interactions"]).read_bytes() == RATINGS.encode()
    assert err.index("Terms: Be kind.") < err.index("Cite: We.") < err.index("downloading z.zip")
    assert "40 of 40 items have a title" in err
    assert "train on it: attnrec train --dataset z" in err
    data = load_interactions("z")
    assert (data.name, data.num_interactions) == ("z", 600)
    assert data.item_titles is not None
    assert data.item_titles[0] == f"Film {data.item_ids[0]}"
    code, out, err = command("z", "--json")
    assert json.loads(out) == result
    assert "Terms" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["r:a", "--max-size", "1MB"], 2, "above the limit of 1.0 MB"),
        (["r:a", "--max-size", "much"], 2, "is no size"),
        (["y"], 2, "there is no public data set 'y'"),
        (["r:aa"], 2, "did you mean r:a"),
    ],
)
def test_command_errors(
    known: tuple[Entry, Entry],
    command: Callable[..., tuple[int, str, str]],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    found, out, err = command(*arguments)
    assert (found, out) == (code, "")
    assert message in err.splitlines()[-1]


def test_command_interrupted(
    known: tuple[Entry, Entry], command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer._Attempts, "_write", _killed)
    code, _, err = command("z")
    assert code == 130
    assert "interrupted: the same command goes on from here" in err


@pytest.mark.parametrize("width", [60, 80])
def test_list(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, width: int, tmp_path: Path
) -> None:
    monkeypatch.setattr("attnrec.cli.get.console.width", width)
    code, out, err = command("--json", "--folder", str(tmp_path))
    assert code == 0
    assert max(map(len, err.splitlines())) <= width
    assert "amazon-2014:CATEGORY" in err
    rows = {row["name"]: row for row in json.loads(out)["datasets"]}
    assert rows["ml-1m"]["interactions"] == 1_000_209
    assert not rows["ml-1m"]["downloaded"]


def test_yelp_says_what_to_do(command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("yelp")
    assert code == 2
    assert err.count("\n") == 1
    assert "https://business.yelp.com/data/resources/open-dataset/" in err
    assert "attnrec prepare yelp_academic_dataset_review.json --out yelp.parquet" in err
