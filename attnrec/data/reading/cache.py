"""A cache of coded data by the hash of the file, so that the runs of a comparison do not read it again.

Damaged entries are ignored, and failures to write them too. Small files are not cached: reading them is as fast.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from attnrec.data.interactions import Interactions
from attnrec.data.reading.form import Reading, ReadOptions
from attnrec.data.reading.source import content_hash, is_parquet

CACHE = "ATTNREC_CACHE"
"""The environment variable that names the cache folder."""

_DAMAGED = (
    tokenize.TokenError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)
_VERSION = 2  # version of the entries and of how files are read; raise it to make old entries unused
_SMALLEST = 1 << 22
_MOST = 8 << 30
_ARRAYS = ("items", "offsets", "timestamps", "parts")
_TEXTS = ("user_ids", "item_ids", "item_titles")


def cache_folder() -> Path:
    """The folder for files that attnrec can make or download again."""
    named = os.environ.get(CACHE)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("attnrec")


def cached(
    path: Path, options: ReadOptions, read: Callable[[Path, ReadOptions], Interactions], smallest: int = _SMALLEST
) -> Interactions:
    """The result of ``read`` for a file, from the cache if the same content was read with the same options before."""
    if not path.is_file() or path.stat().st_size < smallest or is_parquet(path):
        return read(path, options)
    said = {field.name: getattr(options, field.name) for field in dataclasses.fields(ReadOptions)}
    key = hashlib.blake2b(f"{_VERSION} {content_hash(path)} {sorted(said.items())}".encode(), digest_size=16)
    entry = cache_folder() / "read" / f"{key.hexdigest()}.npz"
    with contextlib.suppress(*_DAMAGED):
        data = _load(entry, path)
        os.utime(entry)
        return data
    data = read(path, options)
    with contextlib.suppress(OSError):
        _store(entry, data)
    return data


def _load(entry: Path, path: Path) -> Interactions:
    from attnrec.data.reading.read import dataset_name

    with np.load(entry, allow_pickle=False) as kept:
        values: dict[str, Any] = {name: kept[name] for name in _ARRAYS if name in kept}
        values |= {name: _texts(kept, name) for name in _TEXTS if name in kept}
        reading = json.loads(kept["reading"].tobytes())
        if set(kept.files) != {"members", *json.loads(kept["members"].tobytes())}:
            raise ValueError("the entry has lost a member")
        categories = json.loads(kept["categories"].tobytes())
    account = Reading(**(reading | {"source": str(path), "notes": tuple(reading["notes"])}))
    own = None if categories is None else tuple(map(tuple, categories))
    return Interactions(name=dataset_name(path), reading=account, item_categories=own, **values)


def _store(entry: Path, data: Interactions) -> None:
    arrays = {name: value for name in _ARRAYS if (value := getattr(data, name)) is not None}
    for name in _TEXTS:
        if (texts := getattr(data, name)) is not None:
            encoded = [text.encode() for text in texts]
            arrays[name] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"{name}_ends"] = np.cumsum([len(text) for text in encoded])
    account = asdict(data.reading) if data.reading else None
    for name, value in (("reading", account), ("categories", data.item_categories)):
        arrays[name] = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
    arrays["members"] = np.frombuffer(json.dumps(sorted(arrays)).encode(), dtype=np.uint8)
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = entry.with_name(f".{entry.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(entry)
    finally:
        temporary.unlink(missing_ok=True)
    _make_room(entry.parent)


def _texts(kept: Any, name: str) -> tuple[str, ...]:
    content, ends = kept[name].tobytes(), kept[f"{name}_ends"].tolist()
    return tuple(content[start:end].decode() for start, end in zip([0, *ends], ends, strict=False))


def _make_room(folder: Path) -> None:
    """Remove the least recently used entries until the rest is below the limit."""
    entries = sorted(folder.glob("*.npz"), key=lambda entry: entry.stat().st_mtime, reverse=True)
    size = 0
    for entry in entries:
        size += entry.stat().st_size
        if size > _MOST:
            entry.unlink(missing_ok=True)
