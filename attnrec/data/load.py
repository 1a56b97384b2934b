"""A data set by name or path, and the fingerprint that tells whether it is still the same one."""

from __future__ import annotations

import zlib
from pathlib import Path

from attnrec.data import synthetic
from attnrec.data.formats import read_interactions
from attnrec.data.interactions import DataError, Interactions
from attnrec.errors import nearest


def load_interactions(dataset: str, file_format: str = "auto") -> Interactions:
    """``synthetic``, or the file at that path; DataError if it is neither."""
    if dataset == synthetic.NAME:
        return synthetic.synthetic()
    if not Path(dataset).exists():
        hint = nearest(dataset, [synthetic.NAME]) if "/" not in dataset and "." not in dataset else ""
        raise DataError(f"there is no data set or file {dataset!r}{hint}")
    return read_interactions(dataset, file_format)


def fingerprint(data: Interactions) -> str:
    """Changes when the interactions or their order do; 8 hexadecimal digits."""
    return f"{zlib.crc32(data.items.tobytes(), zlib.crc32(data.offsets.tobytes())):08x}"
