"""Dataclasses as plain values and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from attnrec.core.plain import FLAT, LEFT_OUT, as_plain, from_plain


@dataclass(frozen=True)
class Inner:
    number: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner | None = field(metadata=FLAT)
    by_name: Mapping[str, Inner] = field(metadata=LEFT_OUT)
    kind: Literal["a", "b"]
    count: int | None
    anything: Any


WHOLE = Outer("x", Inner(1.5, ("p", "q")), {"one": Inner(2.0, ())}, "b", 3, {"any": [1]})
PLAIN = {
    "name": "x",
    "number": 1.5,
    "words": ["p", "q"],
    "by_name": {"one": {"number": 2.0, "words": []}},
    "kind": "b",
    "count": 3,
    "anything": {"any": [1]},
}


def test_there_and_back() -> None:
    assert as_plain(WHOLE) == PLAIN
    assert list(as_plain(WHOLE)) == list(PLAIN)
    assert from_plain(Outer, PLAIN) == WHOLE


def test_what_is_empty_has_no_key() -> None:
    bare = Outer("x", None, {}, "a", None, None)
    assert as_plain(bare) == {"name": "x", "kind": "a", "count": None, "anything": None}
    assert from_plain(Outer, as_plain(bare)) == bare


def test_what_json_has_no_word_for_is_null() -> None:
    @dataclass(frozen=True)
    class Ratio:
        value: float

    assert as_plain([math.nan, math.inf, 1.0]) == [None, None, 1.0]
    assert math.isnan(from_plain(Ratio, {"value": None}).value)


def test_whole_numbers_are_numbers_and_keys_of_later_versions_are_passed_over() -> None:
    found = from_plain(Inner, {"number": 2, "words": [], "new": 1})
    assert found == Inner(2.0, ())
    assert type(found.number) is float


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 3}, "name is not text"),
        ({"number": True}, "number is not a number"),
        ({"words": "pq"}, "words is not a list"),
        ({"words": ["p", 1]}, r"words\[1\] is not text"),
        ({"by_name": []}, "by_name is not an object"),
        ({"by_name": {"one": {"number": 2.0}}}, r"by_name\.one\.words is missing"),
        ({"kind": "c"}, "kind is not one of a, b"),
        ({"kind": ["a"]}, "kind is not one of a, b"),
        ({"count": 1.5}, "count is not a whole number"),
    ],
)
def test_the_place_of_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        from_plain(Outer, PLAIN | change)


def test_a_part_that_stands_among_the_others_is_whole() -> None:
    with pytest.raises(ValueError, match=r"^words is missing$"):
        from_plain(Outer, {name: value for name, value in PLAIN.items() if name != "words"})
