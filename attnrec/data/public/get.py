"""Public data sets by name: downloading them from their publisher, preparing them, and finding the result."""

from __future__ import annotations

from pathlib import Path

from attnrec.core.errors import InputError
from attnrec.data.preparation import split_options
from attnrec.data.prepare import Prepared, described, prepare_sources
from attnrec.data.prepared import has_titles, write_prepared
from attnrec.data.public.catalogue import find
from attnrec.data.public.download import get, home_of
from attnrec.data.public.download_observer import DownloadObserver

RECIPE = "sasrec"
"""The recipe by which public data sets are prepared."""


def is_public(name: str) -> bool:
    """Whether the catalogue has a data set of that name."""
    try:
        find(name)
    except InputError:
        return False
    return True


def prepared_file(name: str, folder: Path | None = None) -> Path:
    """The path of the prepared data set, whether or not it exists yet."""
    entry = find(name)
    return home_of(entry, folder) / f"{entry.name.replace(':', '-')}.parquet"


def get_prepared(
    name: str,
    *,
    folder: Path | None = None,
    max_size: int | None = None,
    titles: bool = True,
    observer: DownloadObserver | None = None,
) -> tuple[Path, Prepared | None]:
    """Download a public data set and prepare it with `RECIPE`; arguments and errors as for `download.get`.

    Returns the prepared file, and how it was prepared, or None if it existed already.
    """
    found = get(name, folder=folder, max_size=max_size, titles=titles, observer=observer)
    path = prepared_file(name, folder)
    if path.is_file() and (found.items is None or has_titles(path)):
        return path, None
    assert found.entry.interactions is not None
    filters, _ = split_options({}, RECIPE)
    reading = found.entry.interactions.reading
    prepared = prepare_sources({"train": [found.interactions]}, filters, reading, name, found.items)
    write_prepared(prepared.data, described(prepared), path)
    return path, prepared
