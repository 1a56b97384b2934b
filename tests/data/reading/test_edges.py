"""Inputs that were once read as something else."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import attnrec
from attnrec.core.errors import InputError
from attnrec.data.interactions import DataError
from attnrec.data.load import load_interactions
from attnrec.data.reading import cache
from attnrec.data.reading.columns import parse_date
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.items import read_items
from attnrec.data.reading.read import read_interactions
from tests.data.reading.raw_forms import histories, interactions
from tests.data.reading.test_raw_forms import read_histories

ROWS = interactions()


def read(folder: Path, text: str, options: ReadOptions = ReadOptions()) -> dict[str, list[str]]:  # noqa: B008
    path = folder / "data.txt"
    path.write_text(text, encoding="utf-8")
    return read_histories(read_interactions(path, options))


def test_nanoseconds_over_a_long_span() -> None:
    """The span of the times times the users does not fit a float64, in which two users once met."""
    low = 1_700_000_000 * 10**9
    high = low + 2**53 + 1024
    times = [low + 512, low, high, high - 512]
    frame = pd.DataFrame({"user_id": ["u0", "u1", "u0", "u1"], "item_id": list("abcd"), "timestamp": times})
    assert read_histories(attnrec.prepare(frame).data) == {"u0": ["a", "c"], "u1": ["b", "d"]}


BY_PLACE = ReadOptions(user_column="1", item_column="2")
INDEXED = ReadOptions(user_column="2", item_column="3", time_column="none")


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (
            "user_id,item_id\na,x\na,y\nb,x\n",
            ReadOptions(user_column="1", item_column="2"),
            {"a": ["x", "y"], "b": ["x"]},
        ),
        (
            ",who,what\n0,1,2\n1,1,3\n",
            ReadOptions(user_column="2", item_column="3", time_column="none"),
            {"1": ["2", "3"]},
        ),
        ("user,item,item\na,x1,x2\n", ReadOptions(item_column="3"), {"a": ["x2"]}),
        ("a x 1300000000\n", ReadOptions("pairs", user_column="2", item_column="1"), {"x": ["a"]}),
        ("user item\na x\n", ReadOptions("pairs"), {"a": ["x"]}),
        ('\nuser,item,note\na,x,"p\nq"\nb,z,r\n', ReadOptions(), {"a": ["x"], "b": ["z"]}),
        ("user_id, item_id\n1, 5\n1,6\n", ReadOptions(), {"1": ["5", "6"]}),
        ("user_id,item_id\n1.0,36.0\n1.0,37.0\n", ReadOptions(), {"1": ["36", "37"]}),
        ("user,item,split\na,x,red\na,y,blue\n", ReadOptions(), {"a": ["x", "y"]}),
        ("0,1,2\n5,6,1300000000\n", ReadOptions(user_column="1", item_column="2", time_column="3"), {"5": ["6"]}),
        ("a，x\nb，y\n", ReadOptions(separator="，", header=False), {"a": ["x"], "b": ["y"]}),
    ],
)
def test_read_right(tmp_path: Path, text: str, options: ReadOptions, expected: dict[str, list[str]]) -> None:
    assert read(tmp_path, text, options) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item,item\na,x1,x2\n", "'item' and 'item \\(3\\)' may each be the item"),
        ("date,time,user,item\n2014-04-29,1530,a,x\n", "'time' is named like a time, but 'date' looks like one|twice"),
        ("user,item,when\na,x,29/04/2014\nb,y,30/04/2014\n", "the column 'when' looks like times"),
        ("user,item,date\na,x,29/04/2014\nb,y,30/04/2014\n", r"data.txt:2: the time '29/04/2014' .*as 2014-04-29"),
        ("user_id:token\titem_id_list:token_seq\titem_id:token\na\tx y\tz\n", "a column holds sequences"),
        ("0,1,2\n5,6,1300000000\n", "the first line numbers the columns"),
        ("user,item\na,x\nuser,item\nb,y\n", "a line repeats the header"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12345\n", "a pointer of Git LFS"),
        ("a x\ra y\rb z\r", "a carriage return inside the line"),
        ('user,item\na,x\nb,""y\n', "data.txt:3"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("missing", ["NaN", "NA", "NULL", "None", " ", "\\N"])
def test_what_programs_write_for_nothing_is_missing(tmp_path: Path, missing: str) -> None:
    lines = [f"{r.user},{missing if r is ROWS[3] else r.item},{r.time}" for r in ROWS]
    lines[9] = f"{ROWS[9].user},{ROWS[9].item},{missing}"
    left = [row for row in ROWS if row is not ROWS[3] and row is not ROWS[9]]
    assert read(tmp_path, "\n".join(["user,item,timestamp", *lines])) == histories(left)


def test_dates_with_zones() -> None:
    assert parse_date("2014-04-29T20:30:15+02:00") == parse_date("2014-04-29 18:30:15Z") == 1_398_796_215
    assert parse_date("2014/04/29") == parse_date("2014-04-29") == parse_date("04 29, 2014") == 1_398_729_600
    assert parse_date("1969-12-31T23:59:59.5Z") == -0.5


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1.3e9, 1.3e12], "different units"),
        ([1.3e9, 0], "are 0 or less"),
    ],
)
@pytest.mark.parametrize("named", ["", "timestamp"])
def test_times_that_do_not_belong_together(tmp_path: Path, times: list[float], message: str, named: str) -> None:
    """Naming the column says that its numbers are times, not that they have one unit."""
    lines = [f"{r.user},{r.item},{times[place % 10 == 0] + place:.0f}" for place, r in enumerate(ROWS)]
    if 0 in times:
        lines = [f"{r.user},{r.item},{0 if place % 10 == 0 else 1.3e9 + place:.0f}" for place, r in enumerate(ROWS)]
    text = "\n".join(["user,item,timestamp", *lines])
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, ReadOptions(time_column=named))
    assert read(tmp_path, text, ReadOptions(time_column=named, trust_data=True))


@pytest.mark.parametrize("wrong", [1_300_000_000_000, 0])
def test_a_single_time_that_cannot_be_right_is_told(tmp_path: Path, wrong: int) -> None:
    times = [wrong if place == 7 else 1_300_000_000 + place for place in range(len(ROWS))]
    lines = [f"{r.user},{r.item},{time}" for r, time in zip(ROWS, times, strict=True)]
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["user,item,timestamp", *lines]))
    told = f"1 of {len(ROWS):,} times do not fit the others"
    for reading in (read_interactions(path).reading, attnrec.prepare(path).readings[0]):
        assert reading is not None
        assert any(told in note for note in reading.notes)
    path.write_text("\n".join(["user,item,timestamp", *lines[:7], *lines[8:]]))
    whole = read_interactions(path).reading
    assert whole is not None
    assert not any("do not fit the others" in note for note in whole.notes)


def test_ratings_in_place_of_items(tmp_path: Path) -> None:
    lines = [f"u{n} i{n % 40} i{n % 39} {n % 5 + 1}" for n in range(100)]
    with pytest.raises(DataError, match="place 3 of every line holds numbers that look like ratings"):
        read(tmp_path, "\n".join(lines), ReadOptions("sequences"))


def frame(**more: Any) -> pd.DataFrame:
    return pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], **more})


def test_filters_at_their_edges(tmp_path: Path) -> None:
    times = [1_300_000_000, 1_300_000_001, 1_300_000_002]
    assert attnrec.prepare(frame(timestamp=times), since="1300000001", until="1300000002").data.item_ids == ("y",)
    with pytest.raises(InputError, match="`since='2014'`: a date is written as 2020-05-31"):
        attnrec.prepare(frame(timestamp=times), since="2014")
    with pytest.raises(InputError, match="the times of these data are not dates"):
        attnrec.prepare(frame(timestamp=[20140429, 20140430, 20140501]), until="2014-06-01")
    options: list[dict[str, Any]] = [{"ties": "item"}, {"duplicates": "drop"}]
    for option in options:
        with pytest.raises(InputError, match="the data have no times"):
            attnrec.prepare(frame(), **option)
    fractions = [1_300_000_000.25, 1_300_000_000.5, 1_300_000_001.75]
    attnrec.prepare(frame(timestamp=fractions), tmp_path / "x.parquet")
    again = load_interactions(str(tmp_path / "x.parquet"))
    assert again.timestamps is not None
    assert again.timestamps.tolist() == fractions
    with pytest.raises(InputError, match="exists already; `force=True` replaces it"):
        attnrec.prepare(frame(), tmp_path / "x.parquet")


def test_the_first_of_each_item_is_of_the_first_part(tmp_path: Path) -> None:
    for name, line in (
        ("train", "a,x,1300000010\na,y,1300000011"),
        ("valid", "a,z,1300000012"),
        ("test", "a,x,1300000005"),
    ):
        (tmp_path / f"{name}.csv").write_text(f"user,item,timestamp\n{line}\n")
    files: dict[str, Any] = {name: tmp_path / f"{name}.csv" for name in ("valid", "test")}
    found = attnrec.prepare(tmp_path / "train.csv", repeats="first", **files)
    assert read_histories(found.data) == {"a": ["x", "y", "z"]}
    with pytest.raises(InputError, match="give both `valid` and `test`, or neither"):
        attnrec.prepare(tmp_path / "train.csv", test=files["test"])


def test_sources_in_other_units(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("user,item,timestamp\na,x,1300000000\n")
    (tmp_path / "ms.csv").write_text("user,item,timestamp\na,y,1200000000000\n")
    with pytest.raises(DataError, match="their times are in different units"):
        attnrec.prepare([tmp_path / "s.csv", tmp_path / "ms.csv"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "a source must be a file or a data frame, not a int"),
        ([], "there is nothing to prepare"),
        (frame(user_id=[1e300, 1, 2]), "holds fractions, NaN or huge numbers"),
        (pd.concat([frame(), frame()], axis=1), "two columns of the same name|expected unique"),
        (pa.table({"user": pa.array([b"\xff"] * 3).view(pa.string()), "item": ["x", "y", "z"]}), "not UTF-8"),
        (frame(timestamp=["1300000000", "inf", "1300000001"]), "its values cannot be read as times"),
    ],
)
def test_what_is_no_source_is_one_line(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        attnrec.prepare(given)
    assert "\n" not in str(caught.value)


def test_frames_with_unusual_columns() -> None:
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "a", "b"]))
    data = attnrec.prepare(pa.table({"user": twice, "item": ["x", "y", "x"]})).data
    assert read_histories(data) == {"a": ["x", "y"], "b": ["x"]}
    some = pl.DataFrame({"user": pl.Series(["a", None, "b"], dtype=pl.Categorical), "item": ["x", "y", "x"]})
    assert read_histories(attnrec.prepare(some, trust_data=True).data) == {"a": ["x"], "b": ["x"]}
    named = frame().rename(columns={"user_id": "customer"})
    assert attnrec.prepare(named, user_column="customer").data.num_users == 2
    with pytest.raises(InputError, match="`user_column` must be of type str, not 0"):
        attnrec.prepare(frame(), user_column=0)


def test_a_frame_with_named_columns_is_trained_on(tmp_path: Path) -> None:
    rows = pd.DataFrame({"customer": [r.user for r in ROWS], "bought": [r.item for r in ROWS]})
    options: dict[str, Any] = {"epochs": 1, "dim": 4, "blocks": 0, "user_column": "customer", "item_column": "bought"}
    assert attnrec.train(dataset=rows, out=tmp_path / "run", **options)["epochs"] == 1


def test_trusted_data_stay_trusted(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("".join(f"same i{n % 30}\n" for n in range(100)))
    attnrec.prepare(path, tmp_path / "one.parquet", trust_data=True)
    assert load_interactions(str(tmp_path / "one.parquet")).num_interactions == 100


def items(folder: Path, text: str, name: str = "items.csv") -> Any:
    (folder / name).write_text(text)
    return read_items(folder / name)


def test_files_of_items(tmp_path: Path) -> None:
    assert items(tmp_path, "ISBN;Book-Title\n1;A\n1;B\n", "books").titles == {"1": "A"}
    found = items(tmp_path, "item_id;title;genre\n1;One;Drama|War\n1;Other;None\n2;Two;\n")
    assert found.titles == {"1": "One", "2": "Two"}
    assert found.categories == {"1": ("Drama", "War"), "2": ()}
    lines = [{"asin": "a"}, {"asin": "b", "title": "B", "categories": [["X|Y", "Z"]]}, {"title": "nobody's"}]
    found = items(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), "meta.json")
    assert found.titles == {"a": "", "b": "B"}
    assert found.categories["b"] == ("X/Y", "Z")
    with pytest.raises(DataError, match=r"items.csv:2: expected 3 fields, found 4"):
        items(tmp_path, "movieId,title,genres\n1,American President, The,Drama\n")
    assert items(tmp_path, 'id\ttitle\n1\t"Wuthering\n2\tTwo\n').titles == {"1": '"Wuthering', "2": "Two"}


def test_a_long_number_takes_no_time(tmp_path: Path) -> None:
    begun = time.process_time()
    with pytest.raises(DataError):
        read(tmp_path, "u1 i1 " + "7" * 200_000 + "x\n" + "u1 i1 " + "7" * 200_000 + "\n", ReadOptions("pairs"))
    assert time.process_time() - begun < 60  # quadratic it was hours


def test_a_cache_that_lost_a_member_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("user,item,timestamp\n" + "".join(f"{r.user},{r.item},{r.time}\n" for r in ROWS))
    cache.cached(path, ReadOptions(), read_interactions, smallest=0)
    (entry,) = (cache.cache_folder() / "read").iterdir()
    content = entry.read_bytes()
    entry.write_bytes(content.replace(b"timestamps.npy", b"timestampz.npy"))
    again = cache.cached(path, ReadOptions(), read_interactions, smallest=0)
    assert again.timestamps is not None
    assert np.array_equal(again.timestamps, read_interactions(path).timestamps)  # type: ignore[arg-type]


def test_quotes_in_titles_between_tabs_are_characters(tmp_path: Path) -> None:
    titles = {5: '"Heroes"', 50: '"Start', 150: '12"'}
    lines = [f"{r.user}\t{r.item}\t{titles.get(place, 'plain')}\t{r.time}" for place, r in enumerate(ROWS)]
    assert read(tmp_path, "\n".join(["user_id\titem_id\titem_title\ttimestamp", *lines])) == histories(ROWS)


def test_lines_that_go_on_in_quotes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    lines = [f'{r.user},{r.item},"two\nlines",{r.time}' for r in ROWS]
    path.write_text("\n".join(["user,item,text,timestamp", *lines]) + "\n")
    data = read_interactions(path)
    assert read_histories(data) == histories(ROWS)
    assert data.reading is not None
    assert "300 lines are blank, or continue a quoted field from the line before" in data.reading.notes


def test_articles_whose_numbers_look_like_times(tmp_path: Path) -> None:
    lines = [f"2018-09-{r.rating + 10},{r.user},{500_000_000 + int(r.item)},0.05" for r in ROWS]
    text = "\n".join(["t_dat,customer_id,article_id,price", *lines])
    assert sum(map(len, read(tmp_path, text, ReadOptions(time_column="t_dat")).values())) == 300


@pytest.mark.parametrize(("names", "parts"), [(" Train,VAL,test", [0, 1, 2]), ("train,train,dev", [0, 0, 1])])
def test_parts_by_other_names(tmp_path: Path, names: str, parts: list[int]) -> None:
    path = tmp_path / "data.csv"
    rows = [f"a,i{place},{part}" for place, part in enumerate(names.split(","))]
    path.write_text("\n".join(["user,item,split", *rows]))
    data = attnrec.prepare(path, repeats="first").data
    assert data.parts is not None
    assert data.parts.tolist() == parts
    path.write_text("user,item,split\na,x,train\na,y,tset\n")
    with pytest.raises(DataError, match="the part 'tset' is not one of train, valid, test"):
        read_interactions(path)


def test_an_index_is_no_item(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the first has no name"):
        items(tmp_path, ",product,title\n0,1,T1\n1,2,T2\n")
    assert items(tmp_path, "item_id, title\n1.0, A\n 2, B\n").titles == {"1": "A", "2": "B"}


def test_users_that_look_like_times(tmp_path: Path) -> None:
    lines = [f"{1_900_000_000 + int(r.user)},{r.item},{r.time % 97}" for r in ROWS]
    with pytest.raises(DataError, match="column 1 looks like times, or users with such numbers"):
        read(tmp_path, "\n".join(lines))


def test_json_with_nan(tmp_path: Path) -> None:
    lines = [json.dumps({"user": r.user, "item": r.item, "timestamp": r.time, "price": float("nan")}) for r in ROWS]
    assert read(tmp_path, "\n".join(lines)) == histories(ROWS)


def test_dates_as_text_in_frames() -> None:
    texts = ["2014/05/03 12:30", "NaT", " 2014-05-03 12:31 "]
    data = attnrec.prepare(frame(when=texts), time_column="when", trust_data=True).data
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [1_399_120_200, 1_399_120_260]
