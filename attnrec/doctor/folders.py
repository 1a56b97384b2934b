"""Folders that attnrec and its compilers write to: their size, and whether they are writable. Local public data."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from attnrec.doctor.findings import Finding, NotHereError, NotRightError, tried

GROUP = "folders and data"
_PATIENCE = 1.0  # seconds for counting a cache, which may hold very many files on a network disk


def current_folder() -> Iterator[Finding]:
    """Where runs are written unless a command says otherwise."""
    yield tried(GROUP, "current folder", lambda: _described(Path.cwd()), advice="use `out=DIR`, or another folder")


def caches() -> Iterator[Finding]:
    """The caches of attnrec, Triton and torch's compiler."""
    from attnrec.data.reading.cache import CACHE, cache_folder

    for name, variable, place in (
        ("attnrec's cache", CACHE, cache_folder),
        ("Triton's cache", "TRITON_CACHE_DIR", _triton_cache),
        ("inductor's cache", "TORCHINDUCTOR_CACHE_DIR", _inductor_cache),
    ):
        yield tried(GROUP, name, partial(_cache, place), advice=f"name another folder in {variable}")


def _triton_cache() -> Path:
    """The folder that Triton documents."""
    home = Path(os.environ.get("TRITON_HOME") or Path.home())
    return Path(os.environ.get("TRITON_CACHE_DIR") or home / ".triton" / "cache")


def _inductor_cache() -> Path:
    """The folder that torch chooses; like torch, raises KeyError or OSError if the user has no name."""
    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(named or Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}")


def data_sets() -> Iterator[Finding]:
    """Public data sets that have been downloaded or prepared here."""
    yield tried(GROUP, "public data", _data_sets)


def _data_sets() -> str:
    from attnrec.data.public.catalogue import catalogue
    from attnrec.data.public.download import downloaded
    from attnrec.data.public.get import prepared_file

    # a data set without a direct download is skipped
    here = [
        entry.name
        for entry in catalogue()
        if entry.interactions is not None and (prepared_file(entry.name).is_file() or downloaded(entry.name))
    ]
    if not here:
        raise NotHereError("none yet", "attnrec data get lists what is available; the embedded data set is always here")
    return ", ".join(here)


def _cache(place: Callable[[], Path]) -> str:
    folder = place()
    kept = _size(folder) if folder.is_dir() else "empty"
    return _described(folder, f"{kept}, ")


def _described(folder: Path, kept: str = "") -> str:
    """Its path, content and free space; `NotRightError` if files cannot be written there."""
    place = _existing(folder)
    try:
        _write_to(place)
    except OSError as error:
        raise NotRightError(f"cannot write to {shortened(folder)}: {error.strerror}") from error
    return f"{shortened(folder)}: {kept}{_bytes(shutil.disk_usage(place).free)} free"


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _write_to(folder: Path) -> None:
    """Write a temporary file, which is removed at once; OSError if that fails."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"written")


def _size(folder: Path) -> str:
    """Total size of all files below, as a phrase; a lower bound if counting takes too long."""
    deadline, total, waiting = time.monotonic() + _PATIENCE, 0, [folder]
    while waiting:
        if time.monotonic() > deadline:
            return f"more than {_bytes(total)}"
        with contextlib.suppress(OSError):  # removed meanwhile, or not readable for this user
            for entry in os.scandir(waiting.pop()):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return _bytes(total)


def _bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"


def shortened(path: Path) -> str:
    """A path with ``~`` for the home folder, so that a bug report does not show the user's name."""
    home = Path.home()
    return str(Path("~", path.relative_to(home))) if path.is_relative_to(home) else str(path)
