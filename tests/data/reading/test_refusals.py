"""What fits two readings, or was probably misread, is refused in one line that says how to choose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from attnrec.data.interactions import DataError
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.read import read_interactions
from tests.data.reading.raw_forms import Raw, histories, interactions
from tests.data.reading.test_raw_forms import read_histories

ROWS = interactions()


def file(folder: Path, line: Callable[[Raw], str], header: str = "", rows: list[Raw] = ROWS) -> Path:
    path = folder / "data.txt"
    path.write_text((header + "\n" if header else "") + "".join(line(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refusal(path: Path, options: ReadOptions = ReadOptions()) -> str:  # noqa: B008
    with pytest.raises(DataError) as caught:
        read_interactions(path, options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def test_a_header_with_one_wrong_letter(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"{r.user},{r.item},{r.time}", "user,item,timesamp")
    assert "'timesamp' is named almost like a time; say `time_column='timesamp'`" in refusal(path)
    assert read_histories(read_interactions(path, ReadOptions(time_column="timesamp"))) == histories(ROWS)
    without = read_interactions(path, ReadOptions(time_column="none"))
    assert without.timestamps is None
    path = file(tmp_path, lambda r: f"{r.user},{r.item},{r.time}", "usr,item,timestamp")
    assert "'usr' may be the user; say `user_column=NAME` and `item_column=NAME`" in refusal(path)
    path = file(tmp_path, lambda r: f"{r.user},{r.item},{r.time}", "user,item,played")
    assert "the column 'played' looks like times" in refusal(path)


def test_listens_of_lastfm(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        lambda r: f"user_{r.user}\t2009-05-04T23:{r.time % 60:02d}:57Z\tf1b1\tDeep Dish {r.item}\t5b1\tTrack {r.item}",
    )
    assert "columns 1, 3, 4, 5 and 6 may each be the item or the user; say `user_column=N`" in refusal(path)
    data = read_interactions(path, ReadOptions(user_column="1", item_column="4"))
    assert (data.num_interactions, data.num_users, data.num_items) == (300, 30, 40)
    assert data.timestamps is not None


def test_a_third_number_may_be_a_time_a_rating_or_an_item(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"{r.user} {r.item} {r.rating}")
    message = refusal(path)
    assert "say `format='sequences'`, or `time_column='3'` or `rating_column='3'`" in message
    assert read_interactions(path, ReadOptions(rating_column="3")).timestamps is None
    assert "look like ratings" in refusal(path, ReadOptions("pairs"))
    assert "270 of 300 lines repeat the user of an earlier line" in refusal(path, ReadOptions("sequences"))
    assert read_interactions(path, ReadOptions("sequences", trust_data=True)).num_interactions == 600
    path = file(tmp_path, lambda r: f"{r.user},{r.item},{r.time % 1000}")
    assert "column 3 may hold times, ratings or items" in refusal(path)


def test_two_separators(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"a{r.user},b\tc{r.item},d")
    assert "may have 2 separated by tab or 3 separated by comma fields; say which with `separator`" in refusal(path)
    assert read_interactions(path, ReadOptions(separator="tab")).num_items == 40
    path = file(tmp_path, lambda r: f"{r.user},x\t{r.item},y\t{r.time}", "user\titem\ttimestamp")
    assert read_histories(read_interactions(path))  # the header decides


def test_names_that_two_columns_have(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"{r.user},{r.item},{r.item}0,{r.time}", "user,movie_id,product_id,timestamp")
    assert "'movie_id' and 'product_id' may each be the item; say which with `item_column=NAME`" in refusal(path)
    assert read_interactions(path, ReadOptions(item_column="movie_id")).item_ids[0] == ROWS[0].item


def test_a_first_line_that_may_be_a_header(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"a{r.user},b{r.item}", "who,what")
    assert "who, what may be a header or the first line of data" in refusal(path)
    assert read_interactions(path, ReadOptions(user_column="who", item_column="what")).num_interactions == 300
    assert read_interactions(path, ReadOptions(header=False)).num_interactions == 301
    path = file(tmp_path, lambda r: f"{r.user} {r.item}", "who what")
    assert "no known user and item column (there is who, what)" in refusal(path)


def test_sequences_or_pairs_of_which_one_is_broken(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"{r.user} {r.item}" + (" 7 8" if r is ROWS[41] else ""))
    assert "either sequences, or lines of 2 fields with a broken line 42 (it has 4)" in refusal(path)
    assert read_interactions(path, ReadOptions("sequences", trust_data=True)).num_interactions == 302
    assert refusal(path, ReadOptions("pairs")).endswith("data.txt:42: expected 2 fields, found 4")


def test_a_header_over_white_space(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"u{r.user} i{r.item} {r.time % 1000}", "user item time")
    assert read_interactions(path).num_interactions == 300
    path = file(tmp_path, lambda r: f"u{r.user} i{r.item} {r.time % 1000}", "who what when")
    assert "no known user and item column (there is who, what, when)" in refusal(path)


def test_histories_in_one_field(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: json.dumps({"user": r.user, "items": [r.item, "1"]}))
    assert "no user and item among the fields that every line has (user, items)" in refusal(path)
    path = file(tmp_path, lambda r: json.dumps({"user": r.user, "item": [r.item, "1"]}))
    assert "'item' holds lists; a line must hold one interaction, not a history" in refusal(path)
    path = tmp_path / "data.txt"
    path.write_text(json.dumps([{"user": "a", "item": "b"}], indent=1))
    assert "write one object per line, as `jq -c` does" in refusal(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (lambda r: f"same i{r.item}", "one user has 100% of the interactions"),
        (lambda r: f"u{r.time} i{r.item}", "so nearly none has a history"),
        (lambda r: f"u{r.user} i{r.time}", "nearly one for each"),
        (lambda r: f"u{r.user} {r.time - r.time % 86_400}", "the items look like times"),
        (lambda r: f"u{r.user} {r.rating}", "the items look like ratings (1, 2, 3, 4, 5)"),
    ],
)
def test_suspicious_data_are_refused_unless_trusted(tmp_path: Path, line: Callable[[Raw], str], message: str) -> None:
    path = file(tmp_path, line)
    found = refusal(path)
    assert message in found
    assert found.endswith("if not, `trust_data=True`")
    assert read_interactions(path, ReadOptions(trust_data=True)).num_interactions == 300


@pytest.mark.parametrize("clock", ["", "235959"])
def test_dates_written_as_numbers(tmp_path: Path, clock: str) -> None:
    path = file(tmp_path, lambda r: f"{r.user},{r.item},202001{r.time % 28 + 1:02d}{clock}", "user,item,time")
    assert "the times look like dates written as numbers (202001" in refusal(path)
    assert read_interactions(path, ReadOptions(trust_data=True)).timestamps is not None
    path = file(tmp_path, lambda r: f"{r.user},{r.item},202001{r.time % 42 + 1:02d}{clock}", "user,item,time")
    assert read_interactions(path).timestamps is not None  # there is no 42nd of January


@pytest.mark.parametrize("header", ["user items", "user_id item_id", "uid history"])
def test_a_header_over_sequences(tmp_path: Path, header: str) -> None:
    lines = [f"{user} {user % 7} {user % 5} {user % 3} {user % 11}" for user in range(60)]
    (tmp_path / "data.txt").write_text("\n".join([header, *lines]) + "\n")
    assert "header" in refusal(tmp_path / "data.txt")


def test_a_few_users_with_two_lines_are_told(tmp_path: Path) -> None:
    lines = [f"u{user} i{user % 7} i{user % 5} i{user % 3} i{user % 11}" for user in range(100)]
    (tmp_path / "data.txt").write_text("\n".join([*lines, "u3 i1 i2 i3", "u4 i1 i2 i3"]))
    reading = read_interactions(tmp_path / "data.txt").reading
    assert reading is not None
    assert "2 of 102 lines go on with the history of a user that has one before" in reading.notes


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ('"item": "i3", "item": "i4"', "data.txt:3: the field 'item' is there twice"),
        ('"item": 9007199254740993.0', "data.txt:3: 9007199254740992.0 is no id"),
        ('"item": 1e400', "data.txt:3: the number 1e400 is too large"),
    ],
)
def test_json_that_would_make_two_ids_one(tmp_path: Path, item: str, message: str) -> None:
    for usual in ("'i1'", "1.0"):
        lines = [f'{{"user": {place % 9}, "item": {usual}}}'.replace("'", '"') for place in range(60)]
        lines[2] = f'{{"user": 3, {item}}}'
        (tmp_path / "data.txt").write_text("\n".join(lines) + "\n")
        assert message in refusal(tmp_path / "data.txt")


def test_items_and_times_in_turn(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"u{r.time} " + " ".join(f"i{n} {9e8 + r.rating:.0f}" for n in range(r.rating)))
    assert "of the items look like times, the others do not" in refusal(path)


def test_incomplete_lines_are_counted_and_many_of_them_refused(tmp_path: Path) -> None:
    few = file(tmp_path, lambda r: f"{r.user},{'' if r is ROWS[7] else r.item},{r.time}", "user,item,timestamp")
    data = read_interactions(few)
    assert data.reading is not None
    assert (data.reading.lines, data.reading.dropped) == (300, {"no item": 1})
    assert read_histories(data) == histories([row for row in ROWS if row is not ROWS[7]])
    many = file(tmp_path, lambda r: f"{r.user},{r.item},{'' if r.rating == 1 else r.time}", "user,item,timestamp")
    lost = sum(row.rating == 1 for row in ROWS)
    assert f"{lost} of 300 lines are incomplete ({lost} have no time)" in refusal(many)
    forced = read_interactions(many, ReadOptions(trust_data=True))
    assert forced.num_interactions == 300 - lost


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = file(tmp_path, lambda r: f"{r.user},{r.item},{r.time}", "user,item,timestamp")
    assert "`item_column='itm'`: there is no such column; did you mean item?" in refusal(
        path, ReadOptions(item_column="itm")
    )
    assert "`user_column='4'`: there are 3 columns" in refusal(path, ReadOptions(user_column="4"))
    both = ReadOptions(user_column="1", item_column="user")
    assert "one column cannot have two roles" in refusal(path, both)


@pytest.mark.parametrize("name", ["u.data", "data.txt"])
def test_numbers_and_names_of_columns_mean_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("".join(f"{r.user}\t{r.item}\t{r.rating}\t{r.time}\n" for r in ROWS))
    by_evidence = read_interactions(path)
    by_number = read_interactions(path, ReadOptions(user_column="1", item_column="2", time_column="4"))
    assert read_histories(by_evidence) == read_histories(by_number) == histories(ROWS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xfd7zXZ\x00abc", "is xz-compressed; unpack it first"),
        (b"\x1f\x8b\x08\x00cut", "is damaged or cut off: it does not unpack"),
        (b"PAR1 and nothing else", "is damaged: it cannot be read as Parquet"),
        (b"a b\n\xff\xfe c\n", r"data.txt:2: not text in UTF-8"),
        (b"a b\nc\x00 d\n", r"data.txt:2: a NUL byte; this is not a text file"),
        (b"\x80\x04\x95", "is a Python pickle, which attnrec does not open"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "data.txt"
    path.write_bytes(content)
    assert message in refusal(path)
