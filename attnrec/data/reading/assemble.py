"""Turning columns as read into numbered histories; incomplete lines are left out and counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from attnrec.data.interactions import ALL_PARTS, CATEGORY_SEPARATOR, DataError, Interactions, from_codes
from attnrec.data.reading.columns import DATE_EXAMPLE, DATE_PATTERN, is_number, parse_date

_TEXT_ROLES = ("user", "item", "title", "categories", "part")
NUMBER_ROLES = ("time", "rating")
_WITH_POINT = re.compile(r"\d+\.0+", re.ASCII)
_YEAR_ONE = -62_135_596_800.0  # in seconds since 1970
_FARTHEST = 1e30  # largest time, so that sums and differences of times stay finite
MISSING = frozenset({"", "NaN", "nan", "NA", "N/A", "<NA>", "NULL", "null", "None", "NaT", "\\N"})
"""What programs write for a missing value."""
MOST_DROPPED = 0.01
PART_NAMES = {part: part for part in ALL_PARTS} | {"validation": "valid", "val": "valid", "dev": "valid"}
"""What a column of parts may say, and which of `ALL_PARTS` it means."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Column:
    """Texts coded by number.

    Attributes:
        codes: int32 [n], the index of each value in ``names``.
        names: the different values, in the order in which they first appear.
    """

    codes: npt.NDArray[np.int32]
    names: tuple[str, ...]

    def __getitem__(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Column:
        """Some of the rows, renumbered."""
        codes = self.codes[rows]
        present, first = np.unique(codes, return_index=True)
        order = present[np.argsort(first, kind="stable")]
        numbers = np.zeros(len(self.names), dtype=np.int32)
        numbers[order] = np.arange(len(order), dtype=np.int32)
        return Column(numbers[codes], tuple(self.names[code] for code in order.tolist()))


@dataclass(frozen=True, eq=False)
class Columns:
    """n interactions as a source has them.

    Attributes:
        text: columns of the roles user and item, and of title, categories and part if there are any.
        numbers: float64 [n], columns of the roles time and rating if there are any; NaN is missing.
        dropped: number of records that were left out, by reason.
        notes: sentences on how the values were interpreted.
    """

    text: Mapping[str, Column]
    numbers: Mapping[str, Floats]
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.text["user"].codes)

    def keep(self, rows: npt.NDArray[np.bool_], reason: str) -> Columns:
        """Only the given rows, in their order; the others are counted under ``reason``."""
        left_out = len(rows) - int(rows.sum())
        if not left_out:
            return self
        return replace(
            self,
            text={role: column[rows] for role, column in self.text.items()},
            numbers={role: values[rows] for role, values in self.numbers.items()},
            dropped={**self.dropped, reason: self.dropped.get(reason, 0) + left_out},
        )

    def in_order(self, rows: npt.NDArray[np.int64]) -> Columns:
        """All rows in another order, renumbered."""
        return replace(
            self,
            text={role: column[rows] for role, column in self.text.items()},
            numbers={role: values[rows] for role, values in self.numbers.items()},
        )

    def parts(self) -> npt.NDArray[np.int8] | None:
        """Indices into `ALL_PARTS`, or None if there is no column of parts."""
        column = self.text.get("part")
        if column is None:
            return None
        return np.array([ALL_PARTS.index(name) for name in column.names], dtype=np.int8)[column.codes]

    def with_parts(self, where: str) -> tuple[Columns, bool]:
        """With parts named as in `ALL_PARTS`, and True; without parts, and False, if no value names a part.

        Raises DataError if only some values do.
        """
        column = self.text["part"]
        named = [PART_NAMES.get(name.strip().lower()) for name in column.names]
        rest = {role: own for role, own in self.text.items() if role != "part"}
        if not any(named):
            return replace(self, text=rest), False
        if None in named:
            odd = column.names[named.index(None)]
            raise DataError(f"{where}: the part {odd!r} is not one of {', '.join(ALL_PARTS)}")
        codes = np.array([ALL_PARTS.index(str(name)) for name in named], dtype=np.int32)[column.codes]
        return replace(self, text={**rest, "part": in_first_order(Column(codes, ALL_PARTS))}), True

    def complete(self, where: str, *, forced: bool = False, tidy: bool = True) -> Columns:
        """Without lines that lack a user, item or time; DataError for more than 1 % unless ``forced``, or a huge time.

        ``tidy``: strip blanks around ids, and the decimal point of whole numbers.
        """
        tidied = {role: _tidied(self.text[role]) for role in ("user", "item")} if tidy else {}
        notes = tuple(f"{role}s: {note}" for role, (_, told) in tidied.items() for note in told)
        text = {**self.text, **{role: column for role, (column, _) in tidied.items()}}
        found = replace(self, text=text, notes=self.notes + notes)
        for role in ("user", "item"):
            column = found.text[role]
            blank = np.array([name in MISSING for name in column.names])
            if blank.any():
                found = found.keep(~blank[column.codes], f"no {role}")
        if "time" in found.numbers:
            found = found.keep(~np.isnan(found.numbers["time"]), "no time")
            if len(found) and (farthest := np.abs(found.numbers["time"]).max()) > _FARTHEST:
                raise DataError(f"{where}: {farthest:g} cannot be a time, in any unit")
        lost = len(self) - len(found)
        if lost > MOST_DROPPED * len(self) and not forced:
            why = ", ".join(f"{count:,} have {reason}" for reason, count in found.dropped.items())
            raise DataError(f"{where}: {lost:,} of {len(self):,} lines are incomplete ({why}); see `trust_data`")
        return found


def _tidied(column: Column) -> tuple[Column, list[str]]:
    """Ids without blanks around them, and whole numbers without a decimal point; and notes on what was done."""
    told = []
    names = [name.strip() for name in column.names]
    if names != list(column.names):
        told.append("blanks around ids are removed")
    real = [name for name in names if name not in MISSING]
    if real and all(_WITH_POINT.fullmatch(name) for name in real):
        names = [name if name in MISSING else name.split(".")[0] for name in names]
        told.append("whole numbers are written without `.0`")
    if not told:
        return column, told
    codes, different = numbered(names)
    return in_first_order(Column(codes[column.codes], different)), told


def numbered(names: Iterable[str]) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """A number for each name, counted from 0, the same for the same name; and the different names."""
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(name, len(places)) for name in names], dtype=np.int32)
    return codes, tuple(places)


def coded(values: pa.ChunkedArray | pa.Array, *, ordered: bool = False) -> Column:
    """Texts, dictionary-coded or not, by number; DataError if they are not UTF-8.

    ``ordered``: each chunk's dictionary is in the order of first appearance, as pyarrow's own coding leaves it.
    """
    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    values = values.unify_dictionaries()
    if not values.num_chunks:
        return Column(np.zeros(0, dtype=np.int32), ())
    names = values.chunk(values.num_chunks - 1).dictionary
    try:
        names.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"the data hold text that is not UTF-8 ({str(error).splitlines()[0]})") from None
    if len(names.unique()) < len(names):  # a dictionary may have duplicates
        return coded(values.cast(names.type))
    indices = [chunk.indices for chunk in values.chunks]
    if values.null_count:
        indices = [index.cast(pa.int64()).fill_null(-1) for index in indices]
    codes = np.concatenate([index.to_numpy() for index in indices]).astype(np.int32, copy=False)
    texts = names.to_pylist()
    if None in texts or (codes < 0).any():
        blank = pa.array(["" if code < 0 else texts[code] or "" for code in codes.tolist()], pa.string())
        return coded(blank)
    return Column(codes, tuple(texts)) if ordered else in_first_order(Column(codes, tuple(texts)))


def in_first_order(column: Column) -> Column:
    """The same column, with names in the order of first appearance and without unused ones."""
    first = _first_places(column.codes, len(column.names))
    if (np.diff(first) > 0).all() and (first < len(column.codes)).all():
        return column
    return column[np.ones(len(column.codes), dtype=bool)]


def _first_places(codes: npt.NDArray[np.int32], count: int) -> npt.NDArray[Any]:
    """Index of the first occurrence of each code, [count]; ``len(codes)`` for a code that is absent."""
    kind = np.int32 if len(codes) < 2**31 else np.int64
    first = np.full(count, len(codes), dtype=kind)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1, dtype=kind)  # numpy keeps the last value written
    return first


def moments(values: pa.ChunkedArray, *, last_way: bool = False) -> Floats | None:
    """Seconds since 1970 of dates in text, NaN for ""; None if one of them is not a date.

    Unless this is the ``last_way`` to read them, also None if the plain reader is as fast.
    """
    texts = pc.if_else(pc.equal(values, ""), None, values)
    if not pc.all(pc.match_substring_regex(texts, f"^({DATE_PATTERN})$")).as_py():
        return _moments_one_by_one(values, last_way)
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            ticks = texts.cast(kind)
        except pa.ArrowInvalid:
            continue
        seconds = np.asarray(ticks.cast(pa.int64()).cast(pa.float64(), safe=False).fill_null(np.nan)) / 1e6
        return None if (seconds < _YEAR_ONE).any() else seconds
    return _moments_one_by_one(values, last_way)


def _moments_one_by_one(values: pa.ChunkedArray, last_way: bool) -> Floats | None:
    column = coded(values)
    if len(column.names) > len(column.codes) / 4 and not last_way:
        return None  # so many different texts that the plain reader is as fast
    try:
        by_name = np.array([parse_date(name) if name else np.nan for name in column.names])
    except ValueError:
        return None
    return by_name[column.codes]


def from_arrow(found: Mapping[str, pa.ChunkedArray]) -> Columns | None:
    """Columns by role as pyarrow read them from text; None if a value is not an id, finite number or date."""
    text, numbers = {}, {}
    notes: tuple[str, ...] = ()
    for role, values in found.items():
        if role not in NUMBER_ROLES:
            if pa.types.is_floating(values.type):
                return None
            if values.null_count or pa.types.is_integer(values.type):
                values = values.cast(pa.string()).fill_null("")
            text[role] = coded(values, ordered=True)
            continue
        if pa.types.is_string(values.type):
            read = moments(values.fill_null("")) if role == "time" else None
            notes = (DATES,)
        else:
            numeric = values.cast(pa.float64(), safe=False)
            read = np.asarray(numeric.fill_null(np.nan) if values.null_count else numeric)
            if np.isfinite(read).sum() != len(values) - values.null_count:
                return None  # the text said `nan` or `inf`
        if read is None:
            return None
        numbers[role] = read
    return Columns(text, numbers, notes=notes)


DATES = "times are dates, read as seconds since 1970 in UTC"


def values_of(found: Mapping[str, Sequence[str]], where: str, line_numbers: Sequence[int]) -> Columns:
    """Columns from lists of texts by role; DataError, with the line, for a value that is not a number or date."""
    text = {role: coded(pa.array(values, pa.string())) for role, values in found.items() if role in _TEXT_ROLES}
    numbers = {}
    notes: tuple[str, ...] = ()
    for role in NUMBER_ROLES:
        if role not in found:
            continue
        numbers[role], dated = _numbers(found[role], role, where, line_numbers)
        notes += (DATES,) if dated else ()
    return Columns(text, numbers, notes=notes)


def _numbers(values: Sequence[str], role: str, where: str, line_numbers: Sequence[int]) -> tuple[Floats, bool]:
    """Numbers or, of times, dates, NaN for ""; and whether they were dates."""
    read = np.full(len(values), np.nan)
    kinds: set[bool] = set()
    for place, value in enumerate(values):
        if value.strip() in MISSING:
            continue
        number = is_number(value)
        try:
            if not number and role != "time":
                raise ValueError  # `inf`, `1_000`, or too large
            read[place] = float(value) if number else parse_date(value)
        except ValueError:
            raise DataError(
                f"{where}:{line_numbers[place]}: the {role} {value[:50]!r} is not a number"
                + (f" or a date (such as {DATE_EXAMPLE})" if role == "time" else "")
            ) from None
        kinds.add(number)
        if len(kinds) > 1:
            raise DataError(
                f"{where}:{line_numbers[place]}: the time {value[:50]!r} is "
                + ("a number among dates" if number else "a date among numbers")
            )
    return read, kinds == {False}


def to_interactions(columns: Columns, name: str) -> Interactions:
    """Histories in time order: by part, then by time (ties keep the order of the source).

    Raises DataError when nothing is left.
    """
    if not len(columns):
        raise DataError(f"{name}: no interactions are left")
    users, items = columns.text["user"], columns.text["item"]
    times = columns.numbers.get("time")
    data = from_codes(name, users.codes, items.codes + 1, users.names, items.names, times, columns.parts())
    titles = _of_items(columns, "title")
    categories = _of_items(columns, "categories")
    return replace(
        data,
        item_titles=titles,
        item_categories=None
        if categories is None
        else tuple(tuple(filter(None, text.split(CATEGORY_SEPARATOR))) for text in categories),
    )


def _of_items(columns: Columns, role: str) -> tuple[str, ...] | None:
    """The value in the first line of each item, in the order of the items; None if there is no such column."""
    if role not in columns.text:
        return None
    first = _first_places(columns.text["item"].codes, len(columns.text["item"].names))
    column = columns.text[role]
    return tuple(column.names[code] for code in column.codes[first].tolist())
