"""Readers for interaction files: pairs, sequences, and tables with a header.

| format | a line | order of a history |
|---|---|---|
| `pairs` | `user item` or `user item timestamp` | by timestamp where given, else as in the file |
| `sequences` | `user item item item ...` | as in the line |
| `csv`, `tsv` | columns named in the first line (user, item and optionally timestamp) | as for `pairs` |

Ids are any strings without white space (in `csv` and `tsv`: any strings). Equal timestamps keep file order.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from attnrec.data.interactions import DataError, Interactions, from_codes

FORMATS = ("auto", "pairs", "sequences", "csv", "tsv")

_COLUMN_NAMES = {
    "user": ("user", "user_id", "userid", "uid", "reviewerid", "visitorid"),
    "item": ("item", "item_id", "itemid", "iid", "movieid", "movie_id", "asin", "parent_asin", "product_id"),
    "timestamp": ("timestamp", "time", "datetime", "unixreviewtime", "ts"),
}
_SAMPLE_LINES = 1000


def read_interactions(path: str | Path, file_format: str = "auto") -> Interactions:
    """Read a file of interactions.

    Args:
        path: a text file in UTF-8.
        file_format: one of `FORMATS`; ``auto`` recognises it from the first lines.

    Raises:
        DataError: the file is missing, unreadable or empty, or a line does not parse (file and line number).
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if file_format == "auto":
                file_format = recognise(islice(file, _SAMPLE_LINES), path)
                file.seek(0)
            if file_format not in FORMATS:
                raise DataError(f"unknown format {file_format!r}; known: {', '.join(FORMATS)}")
            rows = _sequence_rows if file_format == "sequences" else _table_rows
            return _collect(path, rows(file, path, file_format))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8 ({error.reason})") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def recognise(lines: Iterable[str], path: Path) -> str:
    """Tell the format from the first lines of a file; DataError if there is none or it is not clear."""
    sample = [line for line in lines if line.strip()]
    if not sample:
        raise DataError(f"{path} is empty")
    for name, delimiter in (("tsv", "\t"), ("csv", ",")):
        if delimiter in sample[0] and _find_columns(next(csv.reader(sample[:1], delimiter=delimiter))):
            return name
    widths = {len(line.split()) for line in sample}
    if widths == {2}:
        return "pairs"
    if widths == {3}:
        return "pairs" if all(_is_number(line.split()[2]) for line in sample) else "sequences"
    if min(widths) >= 2:
        return "sequences"
    raise DataError(
        f"{path}: the format is not recognised: neither `user item` lines nor a header that names user and item; "
        "give it with --format"
    )


_Row = tuple[str, str, float | None]  # user, item, timestamp


def _sequence_rows(file: TextIO, path: Path, _: str) -> Iterator[_Row]:
    for number, line in enumerate(file, 1):
        user, *items = line.split() or [""]
        if user and not items:
            raise DataError(f"{path}:{number}: a user without items (expected `user item item ...`)")
        for item in items:
            yield user, item, None


def _table_rows(file: TextIO, path: Path, file_format: str) -> Iterator[_Row]:
    if file_format == "pairs":
        lines: Iterator[list[str]] = (line.split() for line in file)
        where = {"user": 0, "item": 1, "timestamp": 2}
        width: int | None = None
        first = 1
    else:
        lines = _csv_lines(file, path, "\t" if file_format == "tsv" else ",")
        header = next(lines, [])
        where = _find_columns(header)
        if not where:
            raise DataError(f"{path}:1: the header names no user and item column (found: {', '.join(header)})")
        width = len(header)
        first = 2
    for number, fields in enumerate(lines, first):
        if not fields:
            continue
        if width is None:
            width = len(fields) if len(fields) in (2, 3) else 2
        if len(fields) != width:
            raise DataError(f"{path}:{number}: expected {width} fields, found {len(fields)}")
        time = None
        if where.get("timestamp", width) < width:
            time = _timestamp(fields[where["timestamp"]], path, number)
        user, item = fields[where["user"]], fields[where["item"]]
        if not user or not item:
            raise DataError(f"{path}:{number}: an empty user or item id")
        yield user, item, time


def _csv_lines(file: TextIO, path: Path, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(file, delimiter=delimiter)
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from error


def _collect(path: Path, rows: Iterator[_Row]) -> Interactions:
    users, items, times = array("i"), array("i"), array("d")
    user_numbers: dict[str, int] = {}
    item_numbers: dict[str, int] = {}
    for user, item, time in rows:
        users.append(user_numbers.setdefault(user, len(user_numbers)))
        items.append(item_numbers.setdefault(item, len(item_numbers) + 1))
        if time is not None:
            times.append(time)
    if not len(users):
        raise DataError(f"{path} is empty")
    return from_codes(
        path.stem, users, items, tuple(user_numbers), tuple(item_numbers), np.asarray(times) if len(times) else None
    )


def _find_columns(header: list[str]) -> dict[str, int]:
    """Places of the user, item and (if any) timestamp columns; empty when user or item is not there."""
    names = [name.strip().lower().split(":")[0] for name in header]  # `user_id:token` is a custom of some tools
    found = {
        role: next((names.index(alias) for alias in aliases if alias in names), -1)
        for role, aliases in _COLUMN_NAMES.items()
    }
    if found["user"] < 0 or found["item"] < 0:
        return {}
    return {role: place for role, place in found.items() if place >= 0}


def _timestamp(text: str, path: Path, number: int) -> float:
    if not _is_number(text):
        raise DataError(f"{path}:{number}: the timestamp {text!r} is not a number")
    return float(text)


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text)).item()
    except ValueError:
        return False
