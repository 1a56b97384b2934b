"""What stands at a path that the user names."""

from __future__ import annotations

import stat
from pathlib import Path

from attnrec.core.errors import InputError


def content_of(path: Path, name: str | Path) -> bytes:
    """What is in a file that messages call ``name``; InputError, in a line, where it cannot be read or is none."""
    try:
        if other := instead_of_file(path):
            raise InputError(f"cannot read {name}: it is {other}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error


def instead_of_file(path: Path) -> str:
    """``a folder``, ``a pipe, not a file``, ... where that is at ``path``, "" for a file; OSError where nothing is.

    To be asked before a file is opened: opening a pipe waits for somebody who writes, and a device may never end.
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
