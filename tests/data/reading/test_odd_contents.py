"""Contents that once were a traceback, or lost lines: by the fast readers and by the plain one."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.load import load_interactions
from attnrec.data.preparation import Preparation
from attnrec.data.prepare import prepare_sources
from attnrec.data.reading import records, tables
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.read import read_interactions
from tests.data.reading.raw_forms import Raw, histories, interactions
from tests.data.reading.test_raw_forms import read_histories

ROWS = interactions("u{}", "i{}", count=200)
HEADER = "user_id,item_id,rating,timestamp"
LONG = "x" * 140_000  # more than Python's csv takes by itself


@pytest.fixture(autouse=True, params=["fast", "plain"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to read: by pyarrow where it can, and by the plain reader alone."""
    if request.param == "plain":
        for module in (tables, records):
            monkeypatch.setattr(module, "_by_pyarrow", lambda *_: None)


def csv_of(rows: list[Raw] = ROWS, more: str = "") -> str:
    header = HEADER + (",note" if more else "")
    return "\n".join([header, *(f"{r.user},{r.item},{r.rating},{r.time}{more}" for r in rows)]) + "\n"


def json_of(rows: list[Raw] = ROWS) -> str:
    named = ({"user_id": r.user, "item_id": r.item, "rating": r.rating, "timestamp": r.time} for r in rows)
    return "".join(json.dumps(record) + "\n" for record in named)


def read(folder: Path, content: str | bytes, name: str = "data.txt", *, trust: bool = False) -> Interactions:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_interactions(path, ReadOptions(trust_data=trust))


def of_row(number: int, old: str, new: str) -> str:
    """The CSV with something else in one of its lines."""
    lines = csv_of().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    return "".join(lines)


@pytest.mark.parametrize(
    "content",
    [
        csv_of(more=",1").replace("note", LONG, 1),
        csv_of(more=",1").replace("note", f'"{LONG}"', 1),
        csv_of(more=",1").replace(",1\n", f",{LONG}\n", 1),
        csv_of(more=",1").replace(",1\n", f',"{LONG}"\n', 1),
        csv_of(more=",1").replace("note", LONG, 1).replace(",", "\t"),
        of_row(9, f",{ROWS[8].rating},", f",{'9' * 400},"),
        of_row(9, f",{ROWS[8].rating},", f",{'9' * 5000},"),
        csv_of(more=',a "quoted" note'),
        csv_of(more=',"a ""quoted"" note\nof two, or three, lines"'),
        csv_of()[:-1],
        json_of()[:-1],
        b"\xef\xbb\xbf" + csv_of().encode(),
    ],
    ids=["header", "quoted header", "field", "quoted field", "tabs", "rating", "long rating", "quotes", "lines", "csv",
         "json", "mark"],
)  # fmt: skip
def test_all_lines_are_read(tmp_path: Path, content: str | bytes) -> None:
    assert read_histories(read(tmp_path, content)) == histories(ROWS)


def test_compression_is_told_by_the_content(tmp_path: Path) -> None:
    for name, content in (("data.csv.gz", csv_of().encode()), ("data.csv", gzip.compress(csv_of().encode()))):
        assert read_histories(read(tmp_path, content, name)) == histories(ROWS)
    with pytest.raises(DataError, match="is empty"):
        read(tmp_path, gzip.compress(b""), "data.csv.gz")
    with pytest.raises(DataError, match="is damaged or cut off"):
        read(tmp_path, gzip.compress(csv_of().encode())[:-30])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# made today\n" + csv_of(), "# made today may be a header or the first line of data"),
        (csv_of().replace("\n", "\n# noted\n", 1), "data.txt:2: expected 4 fields, found 1"),
        ("# made\n" + csv_of().split("\n", 1)[1].replace(",", " "), "either sequences, or lines of 4 fields"),
        (csv_of()[:-14], "data.txt:201: expected 4 fields, found "),
        (json_of()[:-9], "data.txt:200: not a JSON object"),
        (csv_of().encode("utf-16"), "is in UTF-16"),
        (csv_of().encode("utf-16-le"), "data.txt:1: a NUL byte"),
        (csv_of().encode("utf-32"), "is in UTF-32"),
        (of_row(9, str(ROWS[8].time), "9" * 400), "data.txt:10: the time '99"),
        (of_row(9, str(ROWS[8].time), "1e309"), "data.txt:10: the time '1e309' is not a number"),
        (of_row(9, str(ROWS[8].time), "-inf"), "data.txt:10: the time '-inf' is not a number"),
        (json_of().replace(str(ROWS[8].time), "Infinity"), "data.txt:9: not a JSON object"),
        (json_of().replace(str(ROWS[8].time), "9" * 400), "data.txt:9: the time '99"),
        (of_row(9, ROWS[8].user, '"' + ROWS[8].user), "data.txt"),
        (of_row(190, f",{ROWS[189].rating},", ',"5,'), "data.txt:201: unexpected end of data"),
    ],
)
def test_refused_with_the_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "NaN", "", "NULL"])
def test_a_missing_time_leaves_the_line_out(tmp_path: Path, value: str) -> None:
    data = read(tmp_path, of_row(9, str(ROWS[8].time), value))
    assert data.reading is not None
    assert data.reading.dropped == {"no time": 1}
    assert read_histories(data) == histories([*ROWS[:8], *ROWS[9:]])


@pytest.mark.parametrize("value", ["1e308", "-1e31"])
def test_a_time_beyond_any_moment(tmp_path: Path, value: str) -> None:
    """Its difference to another one may be infinite, which ended the training of a variant that uses times."""
    with pytest.raises(DataError, match=r"data.txt: 1e\+3.* cannot be a time"):
        read(tmp_path, of_row(9, str(ROWS[8].time), value))


@pytest.mark.parametrize("value", ["-1e18", "1e18", "0"])
def test_a_time_far_from_the_others_is_a_time(tmp_path: Path, value: str) -> None:
    data = read(tmp_path, of_row(9, str(ROWS[8].time), value))
    place = -1 if value == "1e18" else 0
    assert read_histories(data)[ROWS[8].user][place] == ROWS[8].item


@pytest.mark.parametrize("item", ["a\xa0b", "a\u2003b", "[/x]", "\x1b[31m", "é\u202e"])
def test_ids_are_kept_as_they_are(tmp_path: Path, item: str) -> None:
    rows = [Raw(row.user, item if place == 8 else row.item, row.rating, row.time) for place, row in enumerate(ROWS)]
    for content in (csv_of(rows), csv_of(rows).replace(",", "\t"), json_of(rows)):
        assert read_histories(read(tmp_path, content)) == histories(rows)


def test_a_quote_that_swallows_lines(tmp_path: Path) -> None:
    """As CSV it is right: an id of many lines. It once left 57 of 200 lines without a word."""
    lines = of_row(8, f",{ROWS[7].item},", f',"{ROWS[7].item},').splitlines(keepends=True)
    lines[151] = lines[151].replace(f",{ROWS[150].item},", f',{ROWS[150].item}",')
    content = "".join(lines)
    with pytest.raises(DataError, match=r"data.txt:9: a double quote joins .* \(143 of 201 lines are lost this way\)"):
        read(tmp_path, content)
    assert read(tmp_path, content, trust=True).num_interactions == 57


@pytest.mark.parametrize("value", ["9" * 400, "inf", "-1e999", "1_0"])
def test_a_rating_that_is_no_finite_number(tmp_path: Path, value: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(of_row(9, f",{ROWS[8].rating},", f",{value},"))
    with pytest.raises(DataError, match=f"data.csv:10: the rating '{value[:50]}' is not a number"):
        prepare_sources({"train": [path]}, Preparation(min_rating=2.0), ReadOptions(), "", None)


def test_what_is_no_file(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, message in (
        (pipe, "is a pipe, not a file"),
        (Path("/dev/null"), "is a device, not a file"),
        (tmp_path, "is a folder"),
        (loop, "there is no data set or file"),
        (tmp_path / ("x" * 300), "there is no data set or file"),
        ("a\0b", "there is no data set or file"),
    ):
        with pytest.raises(DataError) as caught:
            load_interactions(str(path))
        assert message in str(caught.value)


def test_a_number_in_json_is_one_id_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    items = ("3", "3.0", "4", "30e-1", "4.5")
    path.write_text("".join(f'{{"user": {place}, "item": {item}}}\n' for place in (1, 2) for item in items))
    assert read_interactions(path).item_ids == ("3", "4", "4.5")
