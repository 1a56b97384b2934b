"""What stands at a path that the user names."""

from __future__ import annotations

import stat
from pathlib import Path


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
