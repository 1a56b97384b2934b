"""Reading a file that the user names."""

from __future__ import annotations

import stat
from pathlib import Path

from attnrec.core.errors import InputError


def content_of(path: Path, name: str | Path) -> bytes:
    """The content of a file that messages call ``name``; InputError if it cannot be read or is not a file."""
    try:
        if other := instead_of_file(path):
            raise InputError(f"cannot read {name}: it is {other}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error


def instead_of_file(path: Path) -> str:
    """What ``path`` is if not a file: ``a folder``, ``a pipe, not a file``, ...; "" for a file, OSError for nothing.

    Call it before opening: opening a pipe waits for a writer, and reading a device may never end.
    """
    mode = path.stat().st_mode
    for is_it, words in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe, not a file"),
        (stat.S_ISSOCK, "a socket, not a file"),
        (stat.S_ISCHR, "a device, not a file"),
        (stat.S_ISBLK, "a device, not a file"),
    ):
        if is_it(mode):
            return words
    return ""
