"""`metrics.jsonl` as a training writes it: appended to, and known by its length and checksum at every snapshot."""

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
    """The file from ``size`` on; what stands behind that is of a training that got no further snapshot, and is cut.

    Raises RunError when it cannot be written, here and in every method.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path, self.size = path, size
        self.waiting = bytearray()
        try:
            content = path.read_bytes()[:size] if size else b""
            if size and path.stat().st_nlink > 1:
                replace_file(path, content)  # a backup made of hard links keeps what it has
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
            os.ftruncate(self.descriptor, size)
            os.lseek(self.descriptor, size, os.SEEK_SET)
        except OSError as error:
            raise cannot_write(path, error) from error
        self.checksum = hashlib.sha256(content)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; it is in the file at the next `flush`, or once much is waiting."""
        self.waiting += json.dumps(line).encode() + b"\n"
        if len(self.waiting) > _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Hand what is waiting to the system."""
        content = bytes(self.waiting)
        try:
            write_all(self.descriptor, content)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.size += len(content)
        self.checksum.update(content)
        self.waiting.clear()

    def sync(self) -> tuple[int, str]:
        """Bring all of it to the disk; its length in bytes and its SHA-256."""
        self.flush()
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return self.size, self.checksum.hexdigest()

    @property
    def end(self) -> int:
        """The length in bytes, with what is waiting."""
        return self.size + len(self.waiting)

    def close(self) -> None:
        """Close the file, with what is waiting as far as there is room for it."""
        with contextlib.suppress(RunError):
            self.flush()
        os.close(self.descriptor)
