"""Filters with counts, recipes, frames, Parquet and the account in it."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import attnrec
from attnrec.core.errors import InputError
from attnrec.data.interactions import DataError, from_codes
from attnrec.data.load import fingerprint, load_interactions
from attnrec.data.prepared import account_of
from attnrec.data.reading import cache
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.read import read_interactions
from attnrec.data.statistics import statistics
from tests.conftest import real_file
from tests.data.reading.raw_forms import FORMS, Raw, histories, interactions, write_form
from tests.data.reading.test_raw_forms import read_histories

ROWS = interactions(count=600)


def frame(rows: list[Raw] = ROWS) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": [row.user for row in rows],
            "item_id": [row.item for row in rows],
            "rating": [row.rating for row in rows],
            "timestamp": [row.time for row in rows],
        }
    )


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    path, rows = write_form(tmp_path, "MovieLens-1M", 600)
    prepared = attnrec.prepare(path, tmp_path / "out.parquet")
    assert read_histories(prepared.data) == histories(rows)
    again = load_interactions(str(tmp_path / "out.parquet"))
    assert fingerprint(again) == fingerprint(prepared.data)
    assert (again.user_ids, again.item_ids) == (prepared.data.user_ids, prepared.data.item_ids)
    account = account_of(tmp_path / "out.parquet")
    assert account is not None
    assert account["interactions"] == 600
    assert account["sources"][0]["lines"] == 600
    assert len(account["sources"][0]["hash"]) == 32
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["user_id", "item_id", "timestamp"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "categorical", "dates"])
def test_frames_of_every_kind(tmp_path: Path, kind: str) -> None:
    given: Any = frame()
    if kind == "polars":
        given = pl.from_pandas(given)
    elif kind == "lazy":
        given = pl.from_pandas(given).lazy()
    elif kind == "arrow":
        given = pa.Table.from_pandas(given)
    elif kind == "categorical":
        given = given.astype({"user_id": "category", "item_id": "category"})
    elif kind == "dates":
        given["timestamp"] = pd.to_datetime(given["timestamp"], unit="s")
    data = attnrec.prepare(given).data
    assert read_histories(data) == histories(ROWS)
    assert data.timestamps is not None
    assert sorted(data.timestamps) == sorted(row.time for row in ROWS)


def test_training_on_a_frame(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 1, "dim": 8, "max_len": 10, "blocks": 1}
    summary = attnrec.train(dataset=frame(), out=tmp_path / "run", **options)
    attnrec.train(dataset=pl.from_pandas(frame()), out=tmp_path / "again", **options)
    again = attnrec.load(tmp_path / "again").evaluate(cutoffs=(1, 5, 10, 20))
    assert summary["test"] == {protocol: again[protocol] for protocol in summary["test"]}
    assert len(list((cache.cache_folder() / "frames").iterdir())) == 1
    with pytest.raises(InputError, match="dataset must be a name, a path or a data frame, not a list"):
        attnrec.train(dataset=[1, 2])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"user_id": [1.5] * 600}, "'user_id' holds fractions"),
        ({"item_id": [["a"]] * 600}, "'item_id' is of type"),
        ({"timestamp": ["soon"] * 600}, "its values cannot be read as times"),
        ({"timestamp": [float("inf")] * 600}, "not finite"),
    ],
)
def test_frames_that_cannot_be_read(column: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        attnrec.prepare(frame().assign(**column))


def test_filters_against_sets(tmp_path: Path) -> None:
    rows = [*ROWS, *ROWS[:50]]
    days = pd.to_datetime(pd.Series([row.time for row in rows]), unit="s")
    middle = days.sort_values().iloc[300].strftime("%Y-%m-%d")
    given = frame(rows)
    dropped = attnrec.prepare(given, duplicates="drop").data
    assert dropped.num_interactions == 600
    rated = attnrec.prepare(given, min_rating=4).data
    assert rated.num_interactions == sum(row.rating >= 4 for row in rows)
    early = attnrec.prepare(given, until=middle).data
    late = attnrec.prepare(given, since=middle).data
    assert early.num_interactions + late.num_interactions == 650
    assert early.num_interactions == int((days < middle).sum())
    first = attnrec.prepare(given, repeats="first").data
    kept = {(row.user, row.item): row.time for row in sorted(rows, key=lambda row: -row.time)}
    assert read_histories(first) == histories([Raw(u, i, 0, time) for (u, i), time in kept.items()])
    last = attnrec.prepare(given, repeats="last").data
    kept = {(row.user, row.item): row.time for row in sorted(rows, key=lambda row: row.time)}
    assert read_histories(last) == histories([Raw(u, i, 0, time) for (u, i), time in kept.items()])
    some = attnrec.prepare(given, users=7, seed=1).data
    assert some.num_users == 7
    assert all(read_histories(some)[user] == histories(rows)[user] for user in some.user_ids)


@pytest.mark.parametrize("once", [True, False])
def test_cores_against_a_plain_loop(once: bool) -> None:
    rows = ROWS[:350]
    prepared = attnrec.prepare(frame(rows), min_user=8, min_item=6, core="once" if once else "stable")
    wanted = list(rows)
    while True:
        users, items = [r.user for r in wanted], [r.item for r in wanted]
        left = [r for r in wanted if users.count(r.user) >= 8 and items.count(r.item) >= 6]
        if once or len(left) == len(wanted):
            break
        wanted = left
    assert 0 < len(left) < 350
    assert read_histories(prepared.data) == histories(left)
    assert prepared.steps[-1][1:] == (len(left), len({r.user for r in left}), len({r.item for r in left}))


def test_the_papers_preparation_gives_back_its_sequences(tmp_path: Path) -> None:
    """Raw MovieLens-1M written out of the published sequences, with users and items below five that must go."""
    published = read_interactions(real_file("ml-1m.txt"))
    rng = np.random.default_rng(0)
    count = published.num_interactions
    users = np.repeat(np.arange(published.num_users), published.lengths)

    def rising(values: Any) -> Any:  # within each user, as the published sequences are in time order
        return values[np.lexsort((values, users))]

    times = rising(rng.integers(956_703_932, 1_046_454_590, count)).tolist()
    ratings = rng.integers(1, 6, count).tolist()
    lines = [
        f"{published.user_ids[user]}::{published.item_ids[item - 1]}::{rating}::{time}\n"
        for user, item, rating, time in zip(users.tolist(), published.items.tolist(), ratings, times, strict=True)
    ]
    places = rising(rng.random(count)).tolist()  # users in turn, ties of time in order
    lines += [f"{7000 + n % 300}::{n % 40 + 1}::5::978300760\n" for n in range(900)]  # users with three each
    lines += [f"{n % 6040 + 1}::{9000 + n % 200}::5::978300760\n" for n in range(800)]  # items with four each
    places += rng.random(1700).tolist()
    raw = tmp_path / "ratings.dat"
    raw.write_text("".join(lines[place] for place in np.argsort(places, kind="stable").tolist()))
    prepared = attnrec.prepare(raw, tmp_path / "ml-1m.parquet", recipe="sasrec")
    assert read_histories(prepared.data) == read_histories(published)
    again = load_interactions(str(tmp_path / "ml-1m.parquet"))
    assert read_histories(again) == read_histories(published)


def test_files_that_name_the_parts(tmp_path: Path) -> None:
    parts = {"train": ROWS[:400], "valid": ROWS[400:500], "test": ROWS[500:]}
    for name, rows in parts.items():
        (tmp_path / f"b.{name}.inter").write_bytes(FORMS["RecBole"].write(rows))
    prepared = attnrec.prepare(
        tmp_path / "b.train.inter",
        tmp_path / "b.parquet",
        valid=tmp_path / "b.valid.inter",
        test=tmp_path / "b.test.inter",
    )
    data = load_interactions(str(tmp_path / "b.parquet"))
    assert data.parts is not None
    assert np.array_equal(np.bincount(data.parts), [400, 100, 100])
    assert prepared.part_sizes == {"train": 400, "valid": 100, "test": 100}
    assert prepared.overlap == 0
    both = attnrec.prepare(frame(), valid=frame(ROWS[:7]), test=frame(ROWS[7:10]))
    assert both.overlap == 10
    wanted: dict[str, list[str]] = {}
    for rows in parts.values():
        for user, items in histories(rows).items():
            wanted.setdefault(user, []).extend(items)
    assert read_histories(data) == read_histories(prepared.data) == wanted
    (tmp_path / "plain.txt").write_text("1 2\n1 3\n")
    with pytest.raises(DataError, match="do not fit together: only one of them has a column"):
        attnrec.prepare(tmp_path / "b.train.inter", valid=tmp_path / "b.valid.inter", test=tmp_path / "plain.txt")


def test_titles_travel_to_recommendations(tmp_path: Path) -> None:
    path, _ = write_form(tmp_path, "MovieLens-1M", 600)
    movies = tmp_path / "movies.dat"
    movies.write_bytes("".join(f"{n}::Caf\u00e9 {n} (1999)::Drama|Comedy\n" for n in range(1, 40)).encode("latin-1"))
    attnrec.prepare(path, tmp_path / "out.parquet", items=movies)
    data = load_interactions(str(tmp_path / "out.parquet"))
    assert data.item_titles is not None
    assert data.item_categories is not None
    assert data.item_titles[data.item_ids.index("7")] == "Caf\u00e9 7 (1999)"
    assert data.item_titles[data.item_ids.index("40")] == ""
    assert data.item_categories[data.item_ids.index("7")] == ("Drama", "Comedy")
    attnrec.train(dataset=str(tmp_path / "out.parquet"), out=tmp_path / "run", epochs=1, dim=8, blocks=1)
    recommender = attnrec.load(tmp_path / "run")
    assert recommender.title("7") == "Caf\u00e9 7 (1999)"


@pytest.mark.parametrize("packing", ["gz", "zst", "zip", "bz2"])
def test_packed_files(tmp_path: Path, packing: str) -> None:
    content = FORMS["MovieLens-20M"].write(ROWS)
    path = tmp_path / f"ratings.csv.{packing}"
    if packing == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/ratings.csv", content)
    else:
        name = {"gz": "gzip", "zst": "zstd"}.get(packing, packing)
        with pa.output_stream(str(path), compression=name) as stream:
            stream.write(content)
    data = read_interactions(path)
    assert (read_histories(data), data.name) == (histories(ROWS), "ratings")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_interactions(path)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    lines = FORMS["MovieLens-1M"].write(ROWS).splitlines(keepends=True)
    path = tmp_path / "ratings.gz"
    path.write_bytes(gzip.compress(b"".join(lines[:200])) + gzip.compress(b"".join(lines[200:])))
    assert read_histories(read_interactions(path)) == histories(ROWS)


def test_the_cache_gives_the_same_and_survives_damage(tmp_path: Path) -> None:
    path, rows = write_form(tmp_path, "RecBole", 600)
    reads = []

    def read(source: Path, options: ReadOptions) -> Any:
        reads.append(source)
        return read_interactions(source, options)

    one = cache.cached(path, ReadOptions(), read, smallest=0)
    other = cache.cached(path, ReadOptions(), read, smallest=0)
    assert len(reads) == 1
    assert read_histories(other) == read_histories(one) == histories(rows)
    assert other.reading == one.reading
    cache.cached(path, ReadOptions(time_column="none"), read, smallest=0)
    assert len(reads) == 2
    for entry in (cache.cache_folder() / "read").iterdir():
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 1
        entry.write_bytes(bytes(content))
    assert read_histories(cache.cached(path, ReadOptions(), read, smallest=0)) == histories(rows)
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.cached(path, ReadOptions(), read, smallest=0).num_interactions == 600
    assert len(reads) == 4


def test_ties_by_item() -> None:
    rows = [Raw("a", item, 5, 1_300_000_000) for item in ("z", "y", "x")]
    assert read_histories(attnrec.prepare(frame(rows)).data) == {"a": ["z", "y", "x"]}
    assert read_histories(attnrec.prepare(frame(rows), ties="item").data) == {"a": ["x", "y", "z"]}


def test_a_source_is_never_replaced(tmp_path: Path) -> None:
    source, link, other = tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c.parquet"
    attnrec.prepare(frame(), source)
    attnrec.prepare(frame(), other)
    before = source.read_bytes()
    link.symlink_to(source)
    for given, out in ((source, source), (source, link), (link, source)):
        for force in (False, True):
            with pytest.raises(InputError, match="is one of the source files"):
                attnrec.prepare([other, given], out, force=force)
    with pytest.raises(InputError, match="is one of the source files"):
        attnrec.prepare(frame(), source, items=source, force=True)
    assert source.read_bytes() == before
    assert link.is_symlink()


def test_a_link_that_leads_nowhere_is_not_replaced_unasked(tmp_path: Path) -> None:
    link = tmp_path / "b.parquet"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists already; `force=True` replaces it"):
        attnrec.prepare(frame(), link)
    assert link.is_symlink()
    attnrec.prepare(frame(), link, force=True)
    assert link.is_file()


def test_items_that_are_no_text(tmp_path: Path) -> None:
    attnrec.prepare(frame(), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is not a text file"):
        attnrec.prepare(frame(), items=tmp_path / "a.parquet")


def test_bad_options() -> None:
    for options, message in (
        ({"recipe": "sas"}, "there is no recipe 'sas'; did you mean sasrec"),
        ({"min_users": 5}, "unknown option 'min_users'; did you mean min_user"),
        ({"min_user": 500}, "nothing is left after at least 500 a user"),
        ({"since": "yesterday"}, "neither an ISO date"),
        ({"core": "twice"}, "`core` 'twice' is not one of stable, once"),
    ):
        with pytest.raises(InputError, match=message):
            attnrec.prepare(frame(), **options)
    with pytest.raises(InputError, match="the data have no ratings"):
        attnrec.prepare(frame().drop(columns="rating"), min_rating=4)


def test_statistics_by_hand() -> None:
    times = np.array([1.0, 1.0, 2.0, 2.0, 3.0]) * 1e9
    data = from_codes("x", [0, 0, 0, 1, 1], [1, 2, 1, 3, 3], ("a", "b"), ("x", "y", "z"), times)
    found = statistics(data)
    assert (found.users, found.items, found.interactions, found.tied) == (2, 3, 5, 1)
    assert (found.mean_length, found.mean_popularity, found.density) == (2.5, 5 / 3, 5 / 6)
    assert found.lengths == (("2", 1), ("3-4", 1))
    assert found.popularity == (("1", 1), ("2", 2))
    assert found.first is not None
    assert found.first.startswith("2001-09-09")


def test_the_account_is_plain_json(tmp_path: Path) -> None:
    prepared = attnrec.prepare(frame(), tmp_path / "x.parquet", min_user=2)
    account = account_of(tmp_path / "x.parquet")
    assert account == json.loads(json.dumps(account))
    assert account is not None
    assert account["steps"][0] == {"step": "read", "interactions": 600, "users": 30, "items": 40}
    assert prepared.options.min_user == 2
