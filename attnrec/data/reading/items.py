"""Titles and categories of items, from a file of items: MovieLens, Amazon metadata, or any table with a header.

The item's id is the column with a known name (`item_id`, `movieId`, `parent_asin`, ...), else the first one. Titles and
categories are found by name too. Several categories are joined by `|`, or are a list in JSON. If an item has several
rows, as in some publishers' files, the first counts; a table of features whose rows for an item differ is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from attnrec.core.errors import nearest
from attnrec.data.interactions import CATEGORY_SEPARATOR, DataError, Interactions
from attnrec.data.reading.columns import KNOWN, SIDE_BY_SIDE, plain, short
from attnrec.data.reading.records import parse_record
from attnrec.data.reading.source import blocks

_TITLES = (*KNOWN["title"], "title", "name", "appname", "booktitle")
_CATEGORIES = (*KNOWN["categories"], "category", "categories", "genres", "genre", "maincategory")
_IDS = (*KNOWN["item"], "id")
_SAMPLE = 1000
_WHOLE = re.compile(r"(?<=\d)\.0+$")  # of a whole number that was written with a point
Row = tuple[int, Sequence[Any]]  # a line's number and its fields


@dataclass(frozen=True)
class Items:
    """Titles and categories from a file of items, by original id.

    Attributes:
        source: the file.
        titles, categories: empty if the file has no such column.
    """

    source: str
    titles: Mapping[str, str]
    categories: Mapping[str, tuple[str, ...]]


def read_items(path: str | Path) -> Items:
    """Read a file of items; DataError if it cannot be parsed, or has neither titles nor categories."""
    path = Path(path)
    columns, rows = _table(path)
    names = [plain(name) for name in columns]
    title, category = _place(names, _TITLES), _place(names, _CATEGORIES)
    if title is None and category is None:
        shown = ", ".join(map(short, columns[:12]))
        raise DataError(f"{path} has no column of titles or categories (it has {shown})")
    titles: dict[str, str] = {}
    categories: dict[str, tuple[str, ...]] = {}
    for item, row in _by_item(path, names, rows):
        if title is not None:
            titles.setdefault(item, str(row[title] or "").strip())
        if category is not None:
            categories.setdefault(item, _categories(row[category]))
    return Items(str(path), titles, categories)


def with_items(data: Interactions, items: Items) -> Interactions:
    """The data with titles and categories, if the file has them; DataError if it has none of the data's items."""
    known = items.titles.keys() | items.categories.keys()
    if not known & set(data.item_ids):
        raise DataError(f"{items.source} has none of the data's items; its first column must hold their original ids")
    if items.titles:
        data = replace(data, item_titles=tuple(items.titles.get(item, "") for item in data.item_ids))
    if items.categories:
        data = replace(data, item_categories=tuple(items.categories.get(item, ()) for item in data.item_ids))
    return data


def read_categories(path: str | Path, column: str, item_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Categories of each item, in the order of ``item_ids``; none for an item that the file does not name.

    Args:
        path: a file of items.
        column: the column of categories; an item may have several, joined by ``|``.
        item_ids: original ids.

    Raises:
        DataError: the file cannot be read, lacks the column, or has none of the items.
    """
    found = read_columns(Path(path), [column])
    if not found.keys() & set(item_ids):
        raise DataError(f"{path} has none of the data's items; its first column must hold their original ids")
    return [found[item][0] if item in found else () for item in item_ids]


def read_columns(path: Path, wanted: Sequence[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The values of some columns by original item id; a field may hold several, joined by ``|``.

    Raises DataError if the file cannot be read, lacks a column, has it twice, or has differing values for an item.
    """
    columns, rows = _table(path)
    for column in wanted:
        if column not in columns[1:]:
            raise DataError(f"{path} has no column {column!r}{nearest(column, columns[1:])}")
        if columns.count(column) > 1:
            raise DataError(f"{path} has {columns.count(column)} columns {column!r}")
    places = [columns.index(column) for column in wanted]
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    for item, row in _by_item(path, [plain(name) for name in columns], rows):
        own = tuple(_categories(row[place]) for place in places)
        for column, before, now in zip(wanted, found.setdefault(item, own), own, strict=True):
            if before != now:
                told = " and ".join(repr(CATEGORY_SEPARATOR.join(values)) for values in (before, now))
                raise DataError(f"{path} has two rows of item {item!r}, whose {column} differs: {told}")
    return found


def category_column(path: Path) -> str:
    """The column of a file of items whose name is known for categories; DataError if there is none."""
    columns, _ = _table(path)
    place = _place([plain(name) for name in columns], _CATEGORIES)
    if place is None:
        shown = ", ".join(map(short, columns[:12]))
        raise DataError(f"{path} has no column of categories; name one of its columns ({shown})")
    return columns[place]


def _place(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _by_item(where: Path, names: Sequence[str], rows: Iterator[Row]) -> Iterator[tuple[str, Sequence[Any]]]:
    known = [name for name in dict.fromkeys(names) if name in _IDS]
    if len(known) > 1 and frozenset(known) not in SIDE_BY_SIDE:
        raise DataError(f"{where}: the columns {' and '.join(known)} may each hold the ids of the items; keep only one")
    place = 0 if names[0] in _IDS else _place(names, _IDS) or 0
    if not names[place] or names[place].startswith("unnamed"):
        raise DataError(f"{where}: no column has a name known for item ids, and the first has no name")
    for _, row in rows:
        item = "" if row[place] is None else _WHOLE.sub("", str(row[place]).strip())
        if item:
            yield item, row


def _categories(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        flat = (part for own in value for part in (own if isinstance(own, list) else [own]))
        texts = [str(part).replace(CATEGORY_SEPARATOR, "/") for part in flat if part]
    else:
        texts = str(value or "").split(CATEGORY_SEPARATOR)
    return tuple(dict.fromkeys(filter(None, map(str.strip, texts))))


def _table(path: Path) -> tuple[list[str], Iterator[Row]]:
    """The columns' names and the rows; MovieLens' files without a header have theirs."""
    lines = _lines(path)
    numbered = next(lines, None)
    if numbered is None:
        raise DataError(f"{path} is empty")
    first, everything = numbered[1], chain([numbered], lines)
    if first.lstrip().startswith("{"):
        return _records(path, first, everything)
    if "::" in first:  # MovieLens-1M's movies.dat
        columns = ["item", "title", "genres"]
        return columns, _checked(path, 3, ((number, line.split("::")) for number, line in everything))
    if first.count("|") > 20:  # MovieLens-100K's u.item, whose last 19 columns are genres, 0 or 1
        width = first.count("|") + 1
        columns = ["item", "title", *(f"column {place}" for place in range(3, width + 1))]
        return columns, _checked(path, width, ((number, line.split("|")) for number, line in everything))
    separator = max("\t,;", key=first.count)
    if separator == "\t" and '"' not in first:
        columns = first.split("\t")
        return columns, _checked(path, len(columns), ((number, line.split("\t")) for number, line in lines))
    rows = _csv(path, separator)
    columns = list(next(rows)[1])
    return columns, _checked(path, len(columns), rows)


def _checked(path: Path, width: int, rows: Iterator[Row]) -> Iterator[Row]:
    for number, row in rows:
        if len(row) != width:
            raise DataError(f"{path}:{number}: expected {width} fields, found {len(row)}")
        yield number, row


def _csv(path: Path, separator: str) -> Iterator[Row]:
    rows = csv.reader((line + "\n" for _, line in _lines(path)), delimiter=separator, strict=True)
    try:
        yield from ((rows.line_num, row) for row in rows)
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: {error}") from None


def _records(path: Path, first: str, lines: Iterator[tuple[int, str]]) -> tuple[list[str], Iterator[Row]]:
    kind = "literals" if "'" in first.split(":")[0] else "json"
    parsed = ((number, parse_record(line, kind, f"{path}:{number}")) for number, line in lines)
    sample = list(islice(parsed, _SAMPLE))
    columns = list(dict.fromkeys(name for _, record in sample for name in record))
    ids = [name for name in columns if plain(name) in _IDS]
    if not ids:
        raise DataError(
            f"{path}: no field has a name known for item ids (it has {', '.join(map(short, columns[:12]))})"
        )
    rows = ((number, [record.get(name) for name in columns]) for number, record in chain(sample, parsed))
    return columns, rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank, in UTF-8 or, as in older files of MovieLens, in Latin-1."""
    encoding = "utf-8"
    try:
        for block in blocks(path):
            if b"\0" in block:
                raise DataError(f"{path} is not a text file")
            block.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"
    number = 0
    for block in blocks(path):
        for line in block.decode(encoding).removesuffix("\n").split("\n"):
            number += 1
            if line.strip():
                yield number, line.removesuffix("\r")
