"""Files that are written whole or not at all, and survive a power cut.

Every change that must not be lost goes through this module's `os`. A test can replace it by a file system that fails,
or that loses what was not synced.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from attnrec.core.errors import InputError, RunError

CAN_SYNC_FOLDERS = os.name == "posix"
UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # by some network file systems
NO_LINKS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""Flags for opening: do not follow links, so that nobody can redirect a write; on Windows, do not change line ends."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name beside ``path``, then rename; on failure the old file is untouched.

    Content and name are on the disk when this returns. Raises RunError when it cannot be written.
    """
    replace_file(path, content)
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """As `write_atomically`, but the new name is on the disk only once its folder has been synced."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINKS, 0o666)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise cannot_write(path, error) from error


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of ``content``, in as many calls as it takes."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def make_folder(path: Path) -> None:
    """Make a folder whose parent exists, unless it is there; RunError when it cannot be made."""
    if path.is_symlink():
        raise RunError(f"{path} is a link; a run must hold its files itself")
    if path.is_dir():
        return
    try:
        os.mkdir(path)
    except OSError as error:
        raise RunError(f"cannot create {path}: {error.strerror or error}") from error
    sync_folder(path.parent)


def make_folders(path: Path) -> None:
    """Make a folder that the user named, and those above it; InputError when it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot create {path}: {getattr(error, 'strerror', None) or error}") from error
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Sync the names in a folder to the disk, if the system can; RunError when that fails."""
    if not CAN_SYNC_FOLDERS:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> RunError:
    """The RunError to raise for a system error while writing ``path``."""
    return RunError(f"cannot write {path}: {error.strerror or error}")


def sha256(content: bytes) -> str:
    """The SHA-256 checksum of a file's content, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
