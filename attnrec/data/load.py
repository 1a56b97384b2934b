"""A data set by name or path, and the fingerprint that tells whether it is still the same one."""

from __future__ import annotations

import zlib
from pathlib import Path

from attnrec.data import synthetic
from attnrec.data.cache import cached
from attnrec.data.form import ReadOptions
from attnrec.data.interactions import DataError, Interactions
from attnrec.data.reading import read_interactions
from attnrec.errors import nearest


def load_interactions(dataset: str, options: ReadOptions = ReadOptions()) -> Interactions:  # noqa: B008
    """``synthetic``, or the file at that path; DataError if it is neither, or does not read."""
    if dataset == synthetic.NAME:
        return synthetic.synthetic()
    path = Path(dataset)
    if not path.exists():
        hint = nearest(dataset, [synthetic.NAME]) if "/" not in dataset and "." not in dataset else ""
        raise DataError(f"there is no data set or file {dataset!r}{hint}")
    return cached(path, options, read_interactions)


def fingerprint(data: Interactions) -> str:
    """Changes when the interactions or their order do; 8 hexadecimal digits."""
    return f"{zlib.crc32(data.items.tobytes(), zlib.crc32(data.offsets.tobytes())):08x}"
