"""Every publisher's form, made with known counts, ends as data with exactly those counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnrec.data.interactions import Interactions
from attnrec.data.reading.read import read_interactions
from tests.data.reading.raw_forms import FORMS, histories, write_form


def read_histories(data: Interactions) -> dict[str, list[str]]:
    return {
        user: [data.item_ids[item - 1] for item in data.history(number)] for number, user in enumerate(data.user_ids)
    }


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_read_right(tmp_path: Path, name: str) -> None:
    path, rows = write_form(tmp_path, name)
    data = read_interactions(path)
    assert read_histories(data) == histories(rows)
    assert data.reading is not None
    assert (data.reading.lines, data.reading.dropped) == (len(rows), {})
    if data.timestamps is not None:
        unit = 1000 if name == "Amazon 2023" else 1
        assert sorted(data.timestamps // unit) == sorted(_day(row.time, name) for row in rows)


def _day(time: int, name: str) -> int:
    return time - time % 86_400 if name == "Steam" else time
