"""One file over HTTP, from a server that cuts, forgets, redirects and lies."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from attnrec.core.errors import InputError, RunError
from attnrec.data.public import transfer
from attnrec.data.public.catalogue import Source
from attnrec.data.public.download_observer import DownloadObserver
from tests.data.public.server import CONTENT, Seen, Web, killed


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
        patch.setattr(transfer._Attempts, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(web.source("a.csv"), tmp_path)
    assert fetch(web.source("a.csv"), tmp_path) == CONTENT[::-1]


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
    with pytest.raises(InputError, match=r"a.csv has .* above the limit of 1.0 MB; allow more with `max_size`"):
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
    with pytest.raises(RunError, match=r"404 Not Found.*if this persists, download .* with a browser"):
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
