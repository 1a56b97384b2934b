"""Archives that are unpacked, and those that are refused."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attnrec.core.errors import RunError
from attnrec.data.public import unpack


def zipped(path: Path, members: dict[str, bytes], attributes: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def tarred(path: Path, *infos: tarfile.TarInfo, content: bytes = b"abc") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info in infos:
            info.size = len(content) if info.isfile() else 0
            archive.addfile(info, io.BytesIO(content))
    return path


def linked(kind: bytes, name: str = "link") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/hostname"
    return info


def test_only_what_is_needed_is_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a/": b"", "a/ratings": b"1", "a/tags": b"2", "a/readme": b"3"})
    unpack.unpack(archive, ["a/ratings", "a/tags"], tmp_path / "a")
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {"ratings": b"1", "tags": b"2"}


def test_tar_and_gz(tmp_path: Path) -> None:
    unpack.unpack(tarred(tmp_path / "t.tar.gz", tarfile.TarInfo("x/f")), ["x/f"], tmp_path / "t")
    assert (tmp_path / "t" / "f").read_bytes() == b"abc"
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"1,2"))
    unpack.unpack(tmp_path / "c.csv.gz", ["c.csv"], tmp_path / "c")
    assert (tmp_path / "c" / "c.csv").read_bytes() == b"1,2"


ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zip parent": (lambda p: zipped(p / "a.zip", {"../f": b"", "f": b""}), "leads out"),
    "zip inner parent": (lambda p: zipped(p / "a.zip", {"x/../../f": b"", "f": b""}), "leads out"),
    "zip absolute": (lambda p: zipped(p / "a.zip", {"/f": b"", "f": b""}), "leads out"),
    "zip backslash": (lambda p: zipped(p / "a.zip", {"..\\f": b"", "f": b""}), "leads out"),
    "zip drive": (lambda p: zipped(p / "a.zip", {"C:f": b"", "f": b""}), "leads out"),
    "zip link": (lambda p: zipped(p / "a.zip", {"f": b"/etc/hostname"}, stat.S_IFLNK | 0o777), "link or a special"),
    "zip pipe": (lambda p: zipped(p / "a.zip", {"f": b""}, stat.S_IFIFO), "link or a special"),
    "zip bomb": (lambda p: zipped(p / "a.zip", {"f": bytes(11_000_000)}), "more than 100 times"),
    "zip twice": (lambda p: zipped(p / "a.zip", {"f": b"1", "./f": b"2"}), "twice"),
    "zip damaged": (lambda p: _cut(zipped(p / "a.zip", {"f": b"1" * 100})), "damaged"),
    "zip without it": (lambda p: zipped(p / "a.zip", {"g": b""}), "no member f"),
    "tar parent": (lambda p: tarred(p / "a.tar.gz", tarfile.TarInfo("../f"), tarfile.TarInfo("f")), "leads out"),
    "tar absolute": (lambda p: tarred(p / "a.tar.gz", tarfile.TarInfo("/f")), "leads out"),
    "tar symlink": (lambda p: tarred(p / "a.tar.gz", linked(tarfile.SYMTYPE), tarfile.TarInfo("f")), "link"),
    "tar hard link": (lambda p: tarred(p / "a.tar.gz", linked(tarfile.LNKTYPE, "f")), "link"),
    "tar device": (lambda p: tarred(p / "a.tar.gz", linked(tarfile.CHRTYPE, "f")), "special file"),
    "tar twice": (lambda p: tarred(p / "a.tar.gz", tarfile.TarInfo("f"), tarfile.TarInfo("f")), "twice"),
    "tar bomb": (lambda p: tarred(p / "a.tar.gz", tarfile.TarInfo("f"), content=bytes(11_000_000)), "more than 100"),
    "tar damaged": (lambda p: _cut(tarred(p / "a.tar.gz", tarfile.TarInfo("f"))), "damaged"),
    "gz bomb": (lambda p: _gz(p, gzip.compress(bytes(11_000_000))), "more than 100 times"),
    "gz cut": (lambda p: _gz(p, gzip.compress(b"abc" * 100)[:-9]), "damaged"),
    "gz no gz": (lambda p: _gz(p, b"abc"), "damaged"),
}


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _gz(folder: Path, content: bytes) -> Path:
    (folder / "f.gz").write_bytes(content)
    return folder / "f.gz"


@pytest.mark.parametrize("attack", ATTACKS)
def test_archives_that_are_refused(tmp_path: Path, attack: str) -> None:
    make, message = ATTACKS[attack]
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = make(inside)
    with pytest.raises(RunError, match=message):
        unpack.unpack(archive, ["f"], inside / "out")
    assert [path.name for path in inside.iterdir()] == [archive.name]
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_MEMBERS", 3)
    archive = zipped(tmp_path / "a.zip", dict.fromkeys("abcd", b""))
    with pytest.raises(RunError, match="more than 3 members"):
        unpack.unpack(archive, ["a"], tmp_path / "out")


def test_full_disk_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    archive = zipped(tmp_path / "a.zip", {"f": b"1"})
    with pytest.raises(RunError, match="No space left on device; make room"):
        unpack.unpack(archive, ["f"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
