"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from attnrec.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name beside ``path``, then rename; on failure the old file is untouched.

    Raises RunError when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
