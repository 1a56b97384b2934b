"""Prepared data as a Parquet file that other tools can read; its metadata say how it was made.

A row is an interaction: `user_id`, `item_id`, and if known `timestamp`, `part`, `item_title` and `item_categories`
(joined by `|`). Rows are grouped by user, each history in order; ids and titles are coded as dictionaries. The
metadata's key `attnrec` holds JSON: sources with their hashes, options, counts.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attnrec.core.files import write_atomically
from attnrec.data.interactions import ALL_PARTS, CATEGORY_SEPARATOR, DataError, Interactions
from attnrec.data.reading.assemble import numbered

_KEY = b"attnrec"


def parquet_bytes(data: Interactions, account: dict[str, Any]) -> bytes:
    """The file's content."""
    columns = {
        "user_id": _dictionary(np.repeat(np.arange(data.num_users, dtype=np.int32), data.lengths), data.user_ids),
        "item_id": _dictionary(data.items - 1, data.item_ids),
    }
    if data.timestamps is not None:
        whole = (data.timestamps == np.floor(data.timestamps)).all() and np.abs(data.timestamps).max() < 2**53
        columns["timestamp"] = pa.array(data.timestamps.astype(np.int64) if whole else data.timestamps)
    if data.parts is not None:
        columns["part"] = _dictionary(data.parts.astype(np.int32), ALL_PARTS)
    if data.item_titles is not None:
        columns["item_title"] = _of_items(data, data.item_titles)
    if data.item_categories is not None:
        columns["item_categories"] = _of_items(
            data, tuple(CATEGORY_SEPARATOR.join(own) for own in data.item_categories)
        )
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(account, ensure_ascii=False)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def check_target(path: Path, sources: Sequence[Any], *, force: bool) -> None:
    """DataError if ``path`` may not be written: not .parquet, one of the sources, or existing without ``force``."""
    if path.suffix != ".parquet":
        raise DataError(f"{path}: the file is written as Parquet, so its name must end in .parquet")
    for source in sources:
        if isinstance(source, str | Path) and path.exists() and Path(source).exists() and path.samefile(source):
            raise DataError(f"{path} is one of the source files, which are never replaced: choose another `out`")
    if os.path.lexists(path) and not force:  # lexists: do not replace a broken link either
        raise DataError(f"{path} exists already; `force=True` replaces it")


def write_prepared(data: Interactions, account: dict[str, Any], path: Path) -> None:
    """Write the file, whole or not at all; DataError if its folder cannot be created, RunError if writing fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot create {path.parent}: {error.strerror or error}") from error
    write_atomically(path, parquet_bytes(data, account))


def account_of(path: Path) -> dict[str, Any] | None:
    """How a prepared file was made; None for any other file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        found = json.loads(metadata[_KEY])
    except (KeyError, ValueError, OSError):
        return None
    return found if isinstance(found, dict) else None


def has_titles(path: Path) -> bool:
    """Whether a prepared file has titles or categories of items."""
    try:
        return bool({"item_title", "item_categories"} & set(pq.read_schema(path).names))
    except (pa.ArrowInvalid, OSError):
        return False


def _dictionary(codes: Any, names: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))


def _of_items(data: Interactions, values: tuple[str, ...]) -> pa.Array:
    codes, different = numbered(values)
    return _dictionary(codes[data.items - 1], different)
