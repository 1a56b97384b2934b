"""Categories of items, from a table with a header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from attnrec.data.interactions import DataError
from attnrec.errors import nearest

_SEPARATOR = "|"


def read_categories(path: str | Path, column: str, item_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Categories of each item, in the order of ``item_ids``; none for an item that the file does not name.

    Args:
        path: TSV, or CSV if its name ends so, with a header; the first column is the item's id.
        column: the column of categories; an item may have several, joined by ``|``.
        item_ids: original ids.

    Raises:
        DataError: the file cannot be read, lacks the column, or knows none of the items.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="," if path.suffix == ".csv" else "\t", quoting=csv.QUOTE_MINIMAL)
            header = next(reader, [])
            if column not in header[1:]:
                raise DataError(f"{path} has no column {column!r}{nearest(column, header[1:])}")
            place = header.index(column)
            found = {row[0]: row[place] for row in reader if len(row) > place}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a table in UTF-8 ({error})") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not found.keys() & set(item_ids):
        raise DataError(f"{path} names none of the items of the data set in its first column")
    return [tuple(filter(None, found.get(item, "").split(_SEPARATOR))) for item in item_ids]
