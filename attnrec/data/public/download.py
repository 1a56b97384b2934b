"""Public data sets on this machine: finding them, and downloading those that are missing."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from attnrec.core.errors import InputError, RunError
from attnrec.data.public.catalogue import Entry, File, Source, find
from attnrec.data.public.download_observer import DownloadObserver
from attnrec.data.public.transfer import fetch, need_space, verified
from attnrec.data.public.unpack import unpack
from attnrec.data.reading.cache import CACHE, cache_folder


@dataclass(frozen=True)
class Downloaded:
    """A public data set that is on this machine.

    Attributes:
        entry: its entry in the catalogue.
        interactions: its file of interactions.
        items: the file with the items' titles; None if there is none or it was not downloaded.
    """

    entry: Entry
    interactions: Path
    items: Path | None


def downloaded(name: str, folder: Path | None = None) -> Downloaded | None:
    """A data set of the catalogue if its interactions are here, else None.

    Raises:
        InputError: the catalogue has no data set of that name.
    """
    entry = find(name)
    home = home_of(entry, folder)
    if entry.interactions is None or not (interactions := _place(home, entry.interactions)).is_file():
        return None
    items = _place(home, entry.items) if entry.items else None
    return Downloaded(entry, interactions, items if items and items.is_file() else None)


def get(
    name: str,
    *,
    folder: Path | None = None,
    max_size: int | None = None,
    titles: bool = True,
    observer: DownloadObserver | None = None,
) -> Downloaded:
    """Download a public data set from its publisher, except for files that are here already.

    Called again, it continues a download that was cut off or interrupted.

    Args:
        name: name of the data set in the catalogue.
        folder: folder for all data sets, with a subfolder for each; `cache_folder` if None.
        max_size: most bytes to download, all files together; if None, about four times the size in the catalogue.
        titles: whether to download the file of the items' titles too; those of some categories are large.
        observer: called with the terms before anything is downloaded, then with the progress.

    Raises:
        InputError: an unknown name, no direct download, or files larger than ``max_size``.
        RunError: the network, the server, the disk or a file failed; the message says what to do.
    """
    entry = find(name)
    observer = observer or DownloadObserver()
    if entry.interactions is None:
        raise InputError(entry.by_hand)
    files = [entry.interactions, *([entry.items] if titles and entry.items else [])]
    home = home_of(entry, folder)
    if not all(_place(home, file).is_file() for file in files):
        observer.terms(name)
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot use {home}: {error.strerror}; choose another folder with `folder` or {CACHE}"
            ) from error
        with _locked(home, observer):
            _bring(entry, files, home, max_size, observer)
    found = downloaded(name, folder)
    assert found is not None  # all its files have been downloaded
    return found


def _bring(entry: Entry, files: list[File], home: Path, max_size: int | None, observer: DownloadObserver) -> None:
    """Download and unpack those of the files that are not here."""
    left = max_size
    for file in files:
        if _place(home, file).is_file():
            continue
        packed = home / file.source.filename
        if not packed.is_file():
            fetch(file.source, packed, _limit(file.source) if left is None else left, observer)
            left = None if left is None else left - packed.stat().st_size
        elif not verified(packed, file.source.checksum):
            raise RunError(
                f"{packed} does not match the publisher's checksum: delete it and run the same command again"
            )
        if file.member is not None:
            observer.unpacking(packed)
            need_space(home, 4 * packed.stat().st_size)  # text packs to about a quarter
            unpack(packed, entry.members(file.source), _place(home, file).parent)
            packed.unlink()


def _limit(source: Source) -> int:
    """Most bytes to allow for a file whose size is only roughly known."""
    return 4 * source.size + 64_000_000


def home_of(entry: Entry, folder: Path | None = None) -> Path:
    """The folder of a data set."""
    # Windows does not allow colons in names
    return (folder or cache_folder() / "downloads") / entry.name.replace(":", "-")


def _place(home: Path, file: File) -> Path:
    """The path of a downloaded file; members of an archive are in a folder named after it."""
    packed = home / file.source.filename
    if file.member is None:
        return packed
    return home / packed.name.split(".")[0] / PurePosixPath(file.member).name


@contextmanager
def _locked(folder: Path, observer: DownloadObserver) -> Iterator[None]:
    """Lock a folder, waiting while another process holds it; the system releases it if the process dies."""
    with (folder / ".lock").open("a") as file:
        told = False
        while not _try_lock(file.fileno()):
            if not told:
                observer.waiting(folder)
                told = True
            time.sleep(0.1)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise RunError(
                f"cannot lock the folder of a download: {error.strerror}; choose one on a local disk"
            ) from error
        return False
    return True
