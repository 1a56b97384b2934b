"""Unpacking the needed members of an archive, without trusting anything the archive says about itself."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from attnrec.core.errors import RunError

MAX_MEMBERS = 10_000
MAX_RATIO = 100  # text compresses to between a third and a twentieth
_HARMLESS = 10_000_000  # bytes that any archive may unpack to, however small it is
_CHUNK = 1 << 20
_TEMPORARY = ".unpacking"


def unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Unpack members of a zip, tar (also packed) or gz file into a folder, under the last part of their names.

    The folder appears complete or not at all; an existing one is replaced. The whole archive is refused if any member
    has an absolute path, a path through ``..``, or the name of another member, if one is a link or a special file, if
    it unpacks to more than 100 times its size, or if it has more than 10,000 members.

    Args:
        archive: the end of its name tells its kind; a `.gz` file has one member, named without `.gz`.
        members: paths in the archive.
        folder: its parent must exist. One process at a time may unpack into the same folder.

    Raises:
        RunError: the archive is damaged, malicious, or lacks a member, or the disk is full.
    """
    temporary = folder.parent / f"{_TEMPORARY}-{folder.name}"
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
    temporary.mkdir()
    try:
        with _damage(archive):
            _write(archive, members, temporary)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"cannot unpack {archive} into {folder}: {why}; make room and run the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """Turn the errors of archive readers into a RunError of one line."""
    unreadable = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)
    try:
        yield
    except unreadable as error:
        raise RunError(f"{archive} is damaged ({error}): delete it and run the same command again") from error


def _write(archive: Path, members: Sequence[str], folder: Path) -> None:
    left = max(_HARMLESS, MAX_RATIO * archive.stat().st_size)
    missing = set(members)
    for name, reader in _contents(archive):
        if name not in missing:
            continue
        missing.remove(name)
        with reader() as packed, (folder / PurePosixPath(name).name).open("xb") as file:
            while chunk := packed.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _refused(archive, f"it unpacks to more than {MAX_RATIO} times its size")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    if missing:
        raise RunError(f"{archive} has no member {min(missing)}; the publisher may have changed it: see its page")


_Contents = Iterator[tuple[str, Callable[[], IO[bytes]]]]


def _contents(archive: Path) -> _Contents:
    """The regular files in an archive and how to open them; RunError if any member is not safe."""
    if archive.name.endswith(".zip"):
        return _zip_contents(archive)
    if archive.name.removesuffix(".gz").endswith((".tar", ".tgz")):
        return _tar_contents(archive)
    return _gz_contents(archive)


def _gz_contents(archive: Path) -> _Contents:
    with gzip.open(archive) as opened:
        yield archive.name.removesuffix(".gz"), lambda: cast(IO[bytes], opened)


def _zip_contents(archive: Path) -> _Contents:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        seen: set[str] = set()
        for info in infos:
            _check_name(archive, info.orig_filename, seen)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"{info.filename!r} is a link or a special file")
            if info.flag_bits & 1:
                raise _refused(archive, f"{info.filename!r} is encrypted")
        for info in infos:
            if not info.is_dir():
                yield info.filename, partial(opened.open, info)


def _tar_contents(archive: Path) -> _Contents:
    # check all headers in a first pass, so that nothing is written from an archive that is refused
    with tarfile.open(archive) as opened:
        seen: set[str] = set()
        for info in opened:
            _check_name(archive, info.name, seen)
            if not info.isfile() and not info.isdir():
                raise _refused(archive, f"{info.name!r} is a link or a special file")
        for info in opened.getmembers():
            if info.isfile():
                yield info.name, partial(_file_of, opened, info)


def _file_of(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = opened.extractfile(info)
    assert file is not None  # it is a regular file
    return file


def _check_name(archive: Path, name: str, seen: set[str]) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise _refused(archive, f"{name!r} leads out of its folder")
    if str(path) in seen:
        raise _refused(archive, f"{name!r} is in it twice")
    seen.add(str(path))
    if len(seen) > MAX_MEMBERS:
        raise _refused(archive, f"it has more than {MAX_MEMBERS:,} members")


def _refused(archive: Path, why: str) -> RunError:
    return RunError(f"{archive} is not unpacked: {why}; delete it, and get it from its publisher's page")
