"""Titles and categories of items, from a file of items: MovieLens, Amazon metadata, or any table with a header.

The item's id is the column with a known name (`item_id`, `movieId`, `parent_asin`, ...), else the first; titles and
categories are found by name too. Several categories are joined by `|`, or are a list in JSON.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.reading.columns import KNOWN, plain
from attnrec.data.reading.records import parse_record
from attnrec.data.reading.source import blocks
from attnrec.errors import nearest

_TITLES = (*KNOWN["title"], "title", "name", "appname")
_CATEGORIES = (*KNOWN["categories"], "category", "categories", "genres", "genre", "maincategory")
_IDS = (*KNOWN["item"], "id")
_SEPARATOR = "|"


@dataclass(frozen=True)
class Items:
    """What a file says of items, by original id.

    Attributes:
        source: the file.
        titles, categories: none where the file has no such column.
    """

    source: str
    titles: Mapping[str, str]
    categories: Mapping[str, tuple[str, ...]]


def read_items(path: str | Path) -> Items:
    """Read a file of items; DataError if it cannot be read or has neither titles nor categories."""
    path = Path(path)
    rows = _rows(path)
    columns = next(rows, None)
    if columns is None:
        raise DataError(f"{path} is empty")
    names = [plain(str(name)) for name in columns]
    item = _place(names, _IDS, 0)
    title, category = _place(names, _TITLES), _place(names, _CATEGORIES)
    if title is None and category is None:
        raise DataError(f"{path} has no column of titles or categories (it has {', '.join(map(str, columns[:12]))})")
    titles: dict[str, str] = {}
    categories: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if len(row) < len(columns):
            continue
        key = str(row[item or 0])
        if title is not None:
            titles.setdefault(key, str(row[title] or ""))
        if category is not None:
            categories.setdefault(key, _categories(row[category]))
    return Items(str(path), titles, categories)


def with_items(data: Interactions, items: Items) -> Interactions:
    """The data with titles and categories; DataError when the file knows none of the items."""
    known = items.titles.keys() | items.categories.keys()
    if not known & set(data.item_ids):
        raise DataError(f"{items.source} knows none of the items; its first column must hold their original ids")
    titles = tuple(items.titles.get(item, "") for item in data.item_ids) if items.titles else None
    found = tuple(items.categories.get(item, ()) for item in data.item_ids) if items.categories else None
    return replace(data, item_titles=titles, item_categories=found)


def read_categories(path: str | Path, column: str, item_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Categories of each item, in the order of ``item_ids``; none for an item that the file does not name.

    Args:
        path: a file of items.
        column: the column of categories; an item may have several, joined by ``|``.
        item_ids: original ids.

    Raises:
        DataError: the file cannot be read, lacks the column, or knows none of the items.
    """
    path = Path(path)
    rows = _rows(path)
    columns = [str(name) for name in next(rows, [])]
    if column not in columns[1:]:
        raise DataError(f"{path} has no column {column!r}{nearest(column, columns[1:])}")
    place, item = columns.index(column), _place([plain(name) for name in columns], _IDS, 0)
    found = {str(row[item or 0]): _categories(row[place]) for row in rows if len(row) > place}
    if not found.keys() & set(item_ids):
        raise DataError(f"{path} knows none of the items; its first column must hold their original ids")
    return [found.get(item, ()) for item in item_ids]


def _place(names: Sequence[str], known: Sequence[str], otherwise: int | None = None) -> int | None:
    return next((names.index(name) for name in known if name in names), otherwise)


def _categories(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        flat = [part for own in value for part in (own if isinstance(own, list) else [own])]
        return tuple(dict.fromkeys(str(part) for part in flat if part))
    return tuple(filter(None, str(value or "").split(_SEPARATOR)))


def _rows(path: Path) -> Iterator[Sequence[Any]]:
    """The columns' names, then the rows; of MovieLens' files without a header too."""
    lines = _lines(path)
    first = next(lines, "")
    if first.lstrip().startswith("{"):
        yield from _records(path, first, lines)
        return
    if "::" in first:  # MovieLens-1M's movies.dat
        yield ["item", "title", "genres"]
        yield from (line.split("::") for line in (first, *lines))
        return
    if first.count("|") > 20:  # MovieLens-100K's u.item, whose last 19 columns are genres, 0 or 1
        yield ["item", "title"]
        yield from (line.split("|")[:2] for line in (first, *lines))
        return
    separator = "\t" if "\t" in first else ","
    try:
        yield from (row for row in csv.reader([first, *lines], delimiter=separator) if row)
    except csv.Error as error:
        raise DataError(f"{path} is not a table ({error})") from error


def _records(path: Path, first: str, rest: Iterator[str]) -> Iterator[Sequence[Any]]:
    kind = "literals" if "'" in first.split(":")[0] else "json"
    known = {*_IDS, *_TITLES, *_CATEGORIES}
    columns: list[str] = []
    for number, line in enumerate((first, *rest), 1):
        record = parse_record(line, kind, f"{path}:{number}")
        if not columns:
            columns = sorted(record, key=lambda name: plain(name) not in known)
            yield columns
        yield [record.get(name) for name in columns]


def _lines(path: Path) -> Iterator[str]:
    """The lines in UTF-8 or, as in older files of MovieLens, in Latin-1."""
    for block in blocks(path):
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            text = block.decode("latin-1")
        yield from (line for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n") if line.strip())
