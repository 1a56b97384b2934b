"""The catalogue of public data sets: every entry is complete, and typing errors are met with near names."""

from __future__ import annotations

import httpx
import pytest

from attnrec.core.errors import InputError
from attnrec.data.public import catalogue
from attnrec.data.public.catalogue import Entry


def test_names_are_unique_and_places_differ() -> None:
    entries = catalogue.catalogue()
    names = [entry.name for entry in entries]
    assert len({name.lower() for name in names}) == len(names)
    families: dict[str, int] = {}
    for name in names:
        families[name.partition(":")[0]] = families.get(name.partition(":")[0], 0) + 1
    assert families == {
        **dict.fromkeys(("ml-100k", "ml-1m", "ml-20m", "ml-32m", "steam", "yelp"), 1),
        "amazon-2014": 24,
        "amazon-2018": 29,
        "amazon-2023": 34,
    }


@pytest.mark.parametrize("entry", catalogue.catalogue(), ids=lambda entry: entry.name)
def test_entries_are_complete(entry: Entry) -> None:
    assert entry.licence
    assert entry.terms.endswith(".")
    assert entry.page.startswith("https://")
    assert entry.citation
    assert entry.counts["interactions"] > 0
    assert set(entry.counts) <= {"users", "items", "interactions"}
    if entry.interactions is None:
        assert entry.page in entry.by_hand
        assert entry.sources == ()
        return
    assert entry.items is not None
    reading = entry.interactions.reading
    assert all((reading.user_column, reading.item_column, reading.time_column))
    for source in entry.sources:
        assert source.size > 0
        assert len({url.rpartition("/")[2] for url in source.urls}) == 1
        for url in source.urls:
            _well_formed(url)
        if source.checksum:
            assert len(bytes.fromhex(source.checksum.removeprefix("md5:"))) == 16


def _well_formed(url: str) -> None:
    parsed = httpx.URL(url)
    assert parsed.scheme == "https"
    assert "." in parsed.host
    assert not parsed.query
    assert str(parsed) == url


def test_near_names() -> None:
    with pytest.raises(InputError, match="did you mean amazon-2014:Beauty"):
        catalogue.find("amazon-2014:Beuty")
    with pytest.raises(InputError, match="did you mean ml-1m"):
        catalogue.find("ml1m")
    with pytest.raises(InputError, match="`attnrec data get` lists all of them"):
        catalogue.find("?")
