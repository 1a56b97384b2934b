"""One process at a time may write to a folder.

The lock is the operating system's (flock). It ends with its process, even one that is killed, so no lock goes stale.
On systems without flock (Windows), nothing is locked.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import warnings
from pathlib import Path
from types import TracebackType

from attnrec.core.errors import InputError, RunError, RunWarning
from attnrec.core.files import NO_LINKS, UNSUPPORTED

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".attnrec.lock"


class FolderLock:
    """Holds a folder from `acquire` to `release`; the file `.attnrec.lock` in it says by whom."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.descriptor: int | None = None

    def acquire(self) -> FolderLock:
        """Take the lock.

        Raises:
            InputError: another process holds it.
            RunError: the lock file cannot be written.
        """
        path = self.folder / LOCK
        try:
            while self.descriptor is None:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
                if not (_locked(descriptor) or _locked_later(descriptor)):
                    os.close(descriptor)
                    raise InputError(f"{self.folder} is in use by another process{_said_in(path)}; wait until it ends")
                # the previous holder may have removed the file after we opened it, and another process remade it
                if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                    self.descriptor = descriptor
                else:
                    os.close(descriptor)
            os.ftruncate(self.descriptor, 0)
            who = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            os.write(self.descriptor, json.dumps(who).encode())
        except OSError as error:
            self.release()
            raise RunError(f"cannot lock {path}: {error.strerror or error}") from error
        return self

    def release(self) -> None:
        """Release the folder, if it is held."""
        if self.descriptor is None:
            return
        path = self.folder / LOCK
        try:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self.descriptor), path.stat()):  # the folder may have been moved
                    os.unlink(path)
        finally:
            os.close(self.descriptor)
            self.descriptor = None

    def __enter__(self) -> FolderLock:
        return self if self.descriptor is not None else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _locked(descriptor: int, *, shared: bool = False) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warnings.warn("this file system has no locks: make sure that only one process writes here", RunWarning, 2)
    return True


def _locked_later(descriptor: int) -> bool:
    """A second try, because `holder` takes the lock for a moment to look."""
    time.sleep(0.2)
    return _locked(descriptor)


def holder(folder: Path) -> str:
    """Which other process holds a folder, in words; "" for none."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | NO_LINKS)
    except OSError:
        return ""
    held = not _locked(descriptor, shared=True)
    os.close(descriptor)  # this also releases the lock, if it was free
    return f"another process{_said_in(folder / LOCK)}" if held else ""


def _said_in(path: Path) -> str:
    """Who holds a lock, according to its file; "" if that cannot be read."""
    try:
        who = json.loads(path.read_bytes())
        return f" ({who['process']} on {who['host']}, since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
