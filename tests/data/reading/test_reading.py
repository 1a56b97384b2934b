"""Readers: every format, its recognition, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.read import read_interactions


def write(folder: Path, text: str, name: str = "data.txt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def histories(data: Interactions) -> dict[str, list[str]]:
    return {
        user: [data.item_ids[item - 1] for item in data.history(number)] for number, user in enumerate(data.user_ids)
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a x\nb y\na z\n", {"a": ["x", "z"], "b": ["y"]}),
        (
            "a x 1300000003\nb y 1300000001\na z 1300000002\na w 1300000002\n",
            {"a": ["z", "w", "x"], "b": ["y"]},
        ),  # tie
        ("a x y z\nb y\n", {"a": ["x", "y", "z"], "b": ["y"]}),
        ("a x y\nb y q\n", {"a": ["x", "y"], "b": ["y", "q"]}),  # three fields, the third no number
        ("user_id,item_id\na,x\n\na,z\n", {"a": ["x", "z"]}),
        ("rating,userId,movieId,timestamp\n5,a,x,20\n1,a,z,10\n", {"a": ["z", "x"]}),
        ("user\titem\ttime\na\tone two\t1\n", {"a": ["one two"]}),
        ("user_id:token\titem_id:token\ttimestamp:float\na\tx\t1.5\na\ty\t0.5\n", {"a": ["y", "x"]}),
        ('user,item\n"a, b",x\n', {"a, b": ["x"]}),
        ("\ufeffa x\nü y\n", {"a": ["x"], "ü": ["y"]}),
        ("a x\r\na y\r\n", {"a": ["x", "y"]}),
    ],
)
def test_formats_are_recognised(tmp_path: Path, text: str, expected: dict[str, list[str]]) -> None:
    assert histories(read_interactions(write(tmp_path, text))) == expected


def test_a_format_given_wins_over_recognition(tmp_path: Path) -> None:
    path = write(tmp_path, "1 2 3\n2 3 4\n")
    assert histories(read_interactions(path, ReadOptions("sequences")))["1"] == ["2", "3"]
    timed = read_interactions(path, ReadOptions("pairs"))
    assert timed.timestamps is not None
    assert timed.timestamps.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("text", "file_format", "message"),
    [
        ("a x\nb y\na\n", "pairs", r"data\.txt:3: expected 2 fields, found 1"),
        ("a x 1\nb y\n", "pairs", r"data\.txt:2: expected 3 fields, found 2"),
        ("a x 1\nb y soon\n", "pairs", r"data\.txt:2: the time 'soon' is not a number"),
        ("a x 1\nb y inf\n", "pairs", r"data\.txt:2: the time 'inf' is not a number"),
        ("a x\nb\n", "sequences", r"data\.txt:2: a user without items"),
        ("user,item\na,x\nb\n", "csv", r"data\.txt:3: expected 2 fields, found 1"),
        ("user,item\na,\n", "auto", r"1 of 1 lines are incomplete \(1 have no item\)"),
        ("who,what\na,x\n", "csv", r"data\.txt:1: who, what may be a header or the first line of data"),
        ("who,what\n1,2\n", "auto", "no known user and item column"),
        ("", "auto", "is empty"),
        ("\n \n", "pairs", "is empty"),
        ("a x\n", "json", r"data\.txt:1: not a JSON object"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, text: str, file_format: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_interactions(write(tmp_path, text), ReadOptions(file_format))
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nowhere"):
        read_interactions(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a folder; name a file in it"):
        read_interactions(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="in UTF-16; save it in UTF-8"):
        read_interactions(binary)


def test_long_fields_are_fields(tmp_path: Path) -> None:
    data = read_interactions(write(tmp_path, "user,item\na," + "x" * 200_000 + "\n"))
    assert len(data.item_ids[0]) == 200_000
