"""Files in the forms of the publishers, made with known interactions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Raw:
    """One interaction; ids as the form writes them."""

    user: str
    item: str
    rating: int
    time: int


def interactions(user: str = "{}", item: str = "{}", count: int = 300, seed: int = 0, step: int = 7919) -> list[Raw]:
    """Random ones of 30 users and 40 items, in the order of a file; times are distinct."""
    rng = np.random.default_rng(seed)
    times = 978_300_760 + step * rng.permutation(count)
    return [
        Raw(user.format(rng.integers(1, 31)), item.format(rng.integers(1, 41)), int(rng.integers(1, 6)), int(time))
        for time in times
    ]


def histories(rows: Sequence[Raw]) -> dict[str, list[str]]:
    """What a reader must make of them."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.time):
        found.setdefault(row.user, []).append(row.item)
    return found


def day(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def _lines(rows: Sequence[Raw], form: Callable[[Raw], str], header: str = "") -> bytes:
    return ((header + "\n" if header else "") + "".join(form(row) + "\n" for row in rows)).encode()


def _json(row: Raw, **named: object) -> str:
    return json.dumps(named)


AMAZON = {"user": "A{:013d}", "item": "B{:09d}"}
DAYS = {"step": 86_400}


def _parquet(rows: Sequence[Raw]) -> bytes:
    sink = pa.BufferOutputStream()
    columns = {
        "customer_id": [row.user for row in rows],
        "product_id": [int(row.item) for row in rows],
        "timestamp": pa.array([row.time * 10**6 for row in rows], pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


@dataclass(frozen=True)
class RawForm:
    """A form: the name of its file, how ids look in it, and how it is written."""

    file: str
    write: Callable[[Sequence[Raw]], bytes]
    ids: Mapping[str, object] | None = None

    def rows(self, count: int = 300, seed: int = 0) -> list[Raw]:
        return interactions(**{"count": count, "seed": seed, **(self.ids or {})})  # type: ignore[arg-type]


FORMS = {
    "MovieLens-1M": RawForm(
        "ratings.dat", lambda rows: _lines(rows, lambda r: f"{r.user}::{r.item}::{r.rating}::{r.time}")
    ),
    "MovieLens-100K": RawForm(
        "u.data", lambda rows: _lines(rows, lambda r: f"{r.user}\t{r.item}\t{r.rating}\t{r.time}")
    ),
    "MovieLens-20M": RawForm(
        "ratings.csv",
        lambda rows: _lines(
            rows, lambda r: f"{r.user},{r.item},{r.rating}.5,{r.time}", "userId,movieId,rating,timestamp"
        ),
    ),
    "Amazon 2014": RawForm(
        "reviews_Beauty_5.json.gz",
        lambda rows: gzip.compress(
            _lines(
                rows,
                lambda r: _json(
                    r,
                    reviewerID=r.user,
                    asin=r.item,
                    reviewerName='J. Doe, "Jo"',
                    helpful=[2, 3],
                    reviewText="Great.\nReally {great}",
                    overall=float(r.rating),
                    summary="ok",
                    unixReviewTime=r.time,
                    reviewTime="07 1, 2014",
                ),
            )
        ),
        AMAZON,
    ),
    "Amazon 2018": RawForm(
        "All_Beauty.json",
        lambda rows: _lines(
            rows,
            lambda r: _json(
                r,
                overall=float(r.rating),
                verified=True,
                reviewTime="09 1, 2016",
                reviewerID=r.user,
                asin=r.item,
                style={"Size:": " 10"},
                reviewText="x",
                unixReviewTime=r.time,
                **({"vote": "3"} if r.rating == 1 else {}),
            ),
        ),
        AMAZON,
    ),
    "Amazon 2023": RawForm(
        "All_Beauty.jsonl",
        lambda rows: _lines(
            rows,
            lambda r: _json(
                r,
                rating=float(r.rating),
                title="Such a lovely scent",
                text="Five <br /> stars",
                images=[{"small": "https://example.org/1.jpg"}],
                asin="B00000VAR" + r.item[-1],
                parent_asin=r.item,
                user_id=r.user,
                timestamp=r.time * 1000 + 5,
                helpful_vote=0,
                verified_purchase=True,
            ),
        ),
        {"user": "AGKHLEW2SOWHNMFQIJGBE{:07d}", "item": "B{:09d}"},
    ),
    "Amazon 2014, ratings only": RawForm(
        "ratings_Beauty.csv", lambda rows: _lines(rows, lambda r: f"{r.user},{r.item},{r.rating}.0,{r.time}"), AMAZON
    ),
    "Amazon 2018, ratings only": RawForm(
        "Beauty.csv", lambda rows: _lines(rows, lambda r: f"{r.item},{r.user},{r.rating}.0,{r.time}"), AMAZON
    ),
    "Steam": RawForm(
        "steam_reviews.json",
        lambda rows: _lines(
            rows,
            lambda r: (
                f"{{u'username': u'{r.user}', u'hours': 0.{r.rating}, u'products': 41, u'product_id': u'{r.item}', "
                f"u'page_order': 0, u'date': u'{day(r.time)}', u'text': u\"It's \\n fun\", u'early_access': False"
                + (", u'user_id': u'7656'" if r.rating == 1 else "")
                + "}"
            ),
        ),
        {"user": "Chaos Syren {}", **DAYS},
    ),
    "Yelp": RawForm(
        "yelp_academic_dataset_review.json",
        lambda rows: _lines(
            rows,
            lambda r: _json(
                r,
                review_id=f"r{r.time}",
                user_id=r.user,
                business_id=r.item,
                stars=float(r.rating),
                useful=0,
                text="If you decide to eat here",
                date=datetime.fromtimestamp(r.time, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            ),
        ),
        {"user": "mh_-eMZ6K5RLWhZyIS{:04d}", "item": "XQfwVwDr-v0ZS3_C{:06d}"},
    ),
    "RecBole": RawForm(
        "ml-100k.inter",
        lambda rows: _lines(
            rows,
            lambda r: f"{r.user}\t{r.item}\t{r.rating}\t{r.time}",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        ),
    ),
    "Parquet": RawForm("interactions.parquet", _parquet),
    "CSV with semicolons": RawForm(
        "ratings.txt",
        lambda rows: _lines(
            rows,
            lambda r: f'"{r.user}";"{r.item}";"{r.rating}";"{r.time}"',
            '"User-ID";"ISBN";"Book-Rating";"Timestamp"',
        ),
    ),
    "CSV with ISO dates": RawForm(
        "events.csv",
        lambda rows: _lines(
            rows,
            lambda r: f"{datetime.fromtimestamp(r.time, UTC).isoformat()},{r.user},view,{r.item}",
            "datetime,visitorid,event,itemid",
        ),
    ),
    "pairs": RawForm(
        "games.txt",
        lambda rows: _lines(sorted(rows, key=lambda r: (r.user, r.time)), lambda r: f"{r.user} {r.item}"),
    ),
    "sequences": RawForm(
        "beauty.txt",
        lambda rows: "".join(f"{user} {' '.join(items)}\n" for user, items in histories(rows).items()).encode(),
    ),
}


def write_form(folder: Path, name: str, count: int = 300, seed: int = 0) -> tuple[Path, list[Raw]]:
    """A file in that form, and what is in it."""
    form = FORMS[name]
    rows = form.rows(count, seed)
    path = folder / form.file
    path.write_bytes(form.write(rows))
    return path, rows
