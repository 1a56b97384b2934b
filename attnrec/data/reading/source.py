"""Reading a file, compressed or not, as whole lines of text, and counting the lines.

The first bytes tell the compression, not the name. A zip archive must hold one file.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from attnrec.core.inputs import instead_of_file
from attnrec.data.interactions import DataError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
_FOREIGN = {
    b"\xfd7zXZ": "xz-compressed; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"\xff\xfe\0\0": "in UTF-32; save it in UTF-8",
    b"\xff\xfe": "in UTF-16; save it in UTF-8",
    b"\xfe\xff": "in UTF-16; save it in UTF-8",
    b"SQLite format 3": "an SQLite database; export the table first",
    b"\x89HDF": "HDF5; export the table first",
    b"\x80\x04": "a Python pickle, which attnrec does not open; export the table first",
    b"\x80\x05": "a Python pickle, which attnrec does not open; export the table first",
    b"%PDF": "a PDF",
    b"version https://": "a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`",
}
_BLOCK = 1 << 22
_LONGEST_LINE = 1 << 26
_BOM = b"\xef\xbb\xbf"
csv.field_size_limit(max(_LONGEST_LINE, csv.field_size_limit()))  # a review may exceed the usual 131,072 characters


def content_hash(path: Path) -> str:
    """BLAKE2b of the file's bytes, 32 hexadecimal digits; DataError if it cannot be read."""
    with _reading(path), path.open("rb") as file:
        digest = hashlib.blake2b(digest_size=16)
        while block := file.read(_BLOCK):
            digest.update(block)
        return digest.hexdigest()


def is_parquet(path: Path) -> bool:
    """Whether the first bytes are those of a Parquet file; DataError if it cannot be read."""
    with _reading(path), path.open("rb") as file:
        return file.read(4) == b"PAR1"


def blocks(path: Path) -> Generator[bytes, None, None]:
    """The unpacked content in blocks of some megabytes that end with a line, without a byte order mark.

    Raises DataError if the file cannot be read or unpacked, or holds a line of more than 64 MB.
    """
    with _reading(path), _unpacked(path) as file:
        rest = b""
        first = True
        while block := file.read(_BLOCK):
            if first:
                block, first = block.removeprefix(_BOM), False
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join((rest, memoryview(block)[:end]))
                rest = block[end:]
            else:
                rest += block
            if len(rest) > _LONGEST_LINE:
                raise DataError(f"{path} has a line of more than {_LONGEST_LINE >> 20} MB: not a file of interactions")
        if rest:
            yield rest


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        if other := instead_of_file(path):
            raise DataError(f"{path} is {other}" + ("; name a file in it" if path.is_dir() else ""))
        yield
    except (zlib.error, zipfile.BadZipFile, EOFError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} is damaged or cut off: it does not unpack ({_one_line(error)})") from error
    except OSError as error:
        if error.errno is None:  # from pyarrow's decompression
            raise DataError(f"{path} is damaged or cut off: it does not unpack ({_one_line(error)})") from error
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (NotImplementedError, RuntimeError) as error:  # from zipfile, for encryption or unknown methods
        raise DataError(f"cannot unpack {path}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        magic = file.read(16)
    for start, what in _FOREIGN.items():
        if magic.startswith(start):
            raise DataError(f"{path} is {what}")
    if magic.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            names = [name for name in names if not name.startswith("__MACOSX/")]
            if "[Content_Types].xml" in names:
                raise DataError(f"{path} is a spreadsheet; save it as CSV")
            if len(names) != 1:
                shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                raise DataError(f"{path} holds {len(names)} files ({shown}); unpack it and give the one you mean")
            with archive.open(names[0]) as member:
                yield member
        return
    compression = next((name for start, name in _COMPRESSED.items() if magic.startswith(start)), None)
    with path.open("rb") as file, pa.input_stream(file, compression=compression) as stream:
        yield stream


@dataclass
class Account:
    """Counts over the part of a text that has been read.

    Attributes:
        of_objects: whether its lines are objects, in which quotes are normal.
        header: whether the next line names the columns.
        lines: number of lines, including blank ones.
        objects: number of lines from a brace to a brace, if ``of_objects``.
        unusual: whether there was a NUL byte, a carriage return or a double quote.
        blank_start: whether the line that should name the columns is blank.
    """

    of_objects: bool = False
    header: bool = False
    lines: int = 0
    objects: int = 0
    unusual: bool = False
    blank_start: bool = False

    def add(self, block: bytes) -> None:
        """Count a block of whole lines."""
        self.lines += block.count(b"\n") + (not block.endswith(b"\n"))
        start = 0
        if self.header:
            self.header, start = False, block.find(b"\n")  # names in quotes are usual too
            self.blank_start = not block[: max(0, start)].strip()
        self.unusual |= b"\0" in block or b"\r" in block or (not self.of_objects and block.find(b'"', start) >= 0)
        if self.of_objects:
            self.objects += min(
                block.count(b"\n{") + block.startswith(b"{"), block.count(b"}\n") + block.endswith(b"}")
            )


def is_regular(path: Path, separator: str, quoted: bool, lines: int) -> bool:
    """Whether a file has this many lines that are not blank, and nothing that readers treat differently.

    That would be a NUL byte, a carriage return inside a line, or, if fields may be quoted, a double quote that is
    misplaced or not closed in its line.
    """
    found = 0
    for block in blocks(path):
        text = np.frombuffer(b"\n" + block + (b"" if block.endswith(b"\n") else b"\n"), dtype=np.uint8)
        ends, returns = text == 10, text == 13
        blank = int((ends[1:] & ends[:-1]).sum()) + int((ends[2:] & returns[1:-1] & ends[:-2]).sum())
        found += int(ends.sum()) - 1 - blank
        if b"\0" in block or (returns[:-1] & ~ends[1:]).any():
            return False
        if quoted and b'"' in block:
            with_quotes = [line for line in block.split(b"\n") if b'"' in line]
            try:
                records = sum(1 for _ in csv.reader(map(bytes.decode, with_quotes), delimiter=separator, strict=True))
            except (csv.Error, UnicodeDecodeError):
                return False
            if records != len(with_quotes):
                return False
    return found == lines


class TextStream:
    """A file object for pyarrow over the blocks of a file, which it counts.

    Args:
        path: the file.
        account: counts every block.
        change: applied to each block after it was counted; must keep line breaks.
    """

    closed = False

    def __init__(self, path: Path, account: Account, change: Callable[[bytes], bytes] | None = None) -> None:
        self._blocks, self._account, self._change = blocks(path), account, change
        self._whole = b""
        self._rest = memoryview(self._whole)

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if not self._rest:
            block = next(self._blocks, b"")
            if block:
                self._account.add(block)
            self._whole = self._change(block) if self._change else block
            self._rest = memoryview(self._whole)
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken.tobytes() if len(taken) < len(self._whole) else self._whole

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._blocks.close()
        self.closed = True


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number from 1 and text of every line that is not blank, without its end; DataError if it is not UTF-8."""
    number = 0
    for block in blocks(path):
        for line in block.removesuffix(b"\n").split(b"\n"):
            number += 1
            if line.strip(b" \t\r"):
                yield number, decode(line.removesuffix(b"\r"), path, number)


def decode(line: bytes, path: Path, number: int) -> str:
    """Text in UTF-8; DataError that names the line otherwise."""
    if b"\0" in line:
        raise DataError(f"{path}:{number}: a NUL byte; this is not a text file")
    if b"\r" in line.removesuffix(b"\n").removesuffix(b"\r"):
        raise DataError(f"{path}:{number}: a carriage return inside the line; save the file with line feeds")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"{line[error.start]:#x}"
        raise DataError(
            f"{path}:{number}: not text in UTF-8 (byte {byte}); convert it, for example by `iconv -f latin1 -t utf-8`"
        ) from None
