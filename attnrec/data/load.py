"""Loading a data set by name or path, and the fingerprint that tells whether it has changed."""

from __future__ import annotations

import errno
import zlib
from pathlib import Path

from attnrec.core.errors import nearest
from attnrec.core.options import shown
from attnrec.data import synthetic
from attnrec.data.interactions import DataError, Interactions
from attnrec.data.reading.cache import cached
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.read import read_interactions


def load_interactions(dataset: str, options: ReadOptions = ReadOptions()) -> Interactions:  # noqa: B008
    """``synthetic``, a public data set that was downloaded, or the file at that path.

    Raises DataError if it is none of these, or cannot be read.
    """
    if dataset == synthetic.NAME:
        return synthetic.synthetic()
    path = Path(dataset)
    if not _exists(path):
        path = _public(dataset)
    return cached(path, options, read_interactions)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _public(name: str) -> Path:
    """The file of a public data set; DataError if it is unknown or has not been downloaded."""
    from attnrec.data.public.get import is_public, prepared_file  # here, because it imports the network library

    if not is_public(name):
        hint = nearest(name, [synthetic.NAME]) if "/" not in name and "." not in name else ""
        raise DataError(f"there is no data set or file {shown(name)}{hint}")
    if not prepared_file(name).is_file():
        raise DataError(f"{name} has not been downloaded yet: run `attnrec data get {name}`")
    return prepared_file(name)


def fingerprint(data: Interactions) -> str:
    """Changes when the interactions or their order do; 8 hexadecimal digits."""
    return f"{zlib.crc32(data.items.tobytes(), zlib.crc32(data.offsets.tobytes())):08x}"
