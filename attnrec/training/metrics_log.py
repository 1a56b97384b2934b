"""Writing `metrics.jsonl`: lines are appended, and each snapshot records the file's length and checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from attnrec.core.errors import RunError
from attnrec.core.files import NO_LINKS, cannot_write, replace_file, write_all

_BUFFER = 1 << 16  # bytes


class MetricsLog:
    """Appends to the file from ``size`` bytes on; anything after that was never part of a snapshot, and is cut off.

    All methods raise RunError if the file cannot be written.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path, self.size = path, size
        self.waiting = bytearray()
        try:
            content = path.read_bytes()[:size] if size else b""
            if size and path.stat().st_nlink > 1:
                replace_file(path, content)  # write a new file: a backup with hard links must not change
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
            os.ftruncate(self.descriptor, size)
            os.lseek(self.descriptor, size, os.SEEK_SET)
        except OSError as error:
            raise cannot_write(path, error) from error
        self.checksum = hashlib.sha256(content)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; it is written at the next `flush`, or when the buffer is full."""
        self.waiting += json.dumps(line).encode() + b"\n"
        if len(self.waiting) > _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write the buffered lines to the file."""
        content = bytes(self.waiting)
        try:
            write_all(self.descriptor, content)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.size += len(content)
        self.checksum.update(content)
        self.waiting.clear()

    def sync(self) -> tuple[int, str]:
        """Sync the file to the disk; returns its length in bytes and its SHA-256."""
        self.flush()
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return self.size, self.checksum.hexdigest()

    @property
    def end(self) -> int:
        """The length in bytes, including buffered lines."""
        return self.size + len(self.waiting)

    def close(self) -> None:
        """Write the buffered lines, if possible, and close the file."""
        with contextlib.suppress(RunError):
            self.flush()
        os.close(self.descriptor)
