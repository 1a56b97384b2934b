"""Recognising the layout of a text file from its first lines; a file that fits two layouts is refused.

A separator fits if it cuts all lines (or all but a few broken ones, which reading will report) into the same number of
fields. Columns get their roles from the user, else from the names in a header, else from what the values look like.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from attnrec.data.interactions import DataError
from attnrec.data.reading.columns import (
    given_places,
    is_number,
    known_places,
    looks,
    near_known,
    short,
    unique,
)
from attnrec.data.reading.form import SEPARATORS, Form, ReadOptions, separator_name
from attnrec.data.reading.records import parse_record
from attnrec.data.reading.roles import (
    columns_of,
    header_of,
    known_roles,
    places_by_looks,
    places_by_name,
    refuse_unused_time,
    shown_names,
)
from attnrec.data.reading.source import lines

_SAMPLE_LINES = 1000
_MOSTLY = 0.9
_WIDEST = 200
_BLANKS = re.compile(r"[ \t\r\v\f]+")
_TRIED = ("\t", "::", ",", ";", "|")


def recognise(path: Path, options: ReadOptions) -> Form:
    """The layout of a text file.

    Raises DataError if the file is empty, if no layout or more than one fits, or if an option does not fit.
    """
    numbered = list(islice(lines(path), _SAMPLE_LINES))
    if not numbered:
        raise DataError(f"{path} is empty")
    sample = [line for _, line in numbered]
    kind = options.format
    if kind in ("json", "literals") or (kind == "auto" and sample[0].lstrip()[:1] in ("{", "[")):
        return _records(numbered, path, options)
    if kind == "sequences":
        return Form("sequences", _asked_separator(options))
    if kind == "pairs":
        return _pairs(sample, path, options)
    separator = {"csv": ",", "tsv": "\t"}.get(kind, _asked_separator(options))
    if separator or options.separator:
        return _table(sample, separator, path, options)
    fitting = [candidate for candidate in _TRIED if _fits(sample, candidate)]
    if len(fitting) > 1:
        fitting = [c for c in fitting if _has_known_header(sample, c, path, options)] or fitting
    if len(fitting) > 1:
        shown = " or ".join(f"{len(split(sample[0], c))} separated by {separator_name(c)}" for c in fitting)
        raise DataError(f"{path}: lines may have {shown} fields; say which with `separator`")
    if fitting:
        return _table(sample, fitting[0], path, options)
    return _white_space(numbered, path, options)


def split(line: str, separator: str, quoted: bool = True) -> list[str]:
    """The fields of one line; "" separates by white space."""
    if not separator:
        return words(line)
    if len(separator) > 1 or not quoted or '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def words(line: str) -> list[str]:
    """The words between blanks and tabs; other Unicode white space may be part of an id."""
    return _BLANKS.sub(" ", line).strip(" ").split(" ")


def _asked_separator(options: ReadOptions) -> str:
    return SEPARATORS.get(options.separator, options.separator)


def _fits(sample: Sequence[str], separator: str) -> bool:
    """Whether a separator cuts (nearly) all lines into the same number of fields, at least two."""
    quoted = _is_quoted(sample, separator)
    rows = _rows(sample, separator, quoted)
    (width, often), *_ = Counter(map(len, rows)).most_common(1)
    return width > 1 and often >= (_MOSTLY if len(rows) >= 20 else 1) * len(rows)


def _rows(sample: Sequence[str], separator: str, quoted: bool) -> list[list[str]]:
    """The fields of each record. A quoted field may span lines, so the last record of a sample may be cut off."""
    if quoted and any('"' in line for line in sample):
        with contextlib.suppress(csv.Error):
            records = list(csv.reader((line + "\n" for line in sample), delimiter=separator))
            return records[:-1] if len(sample) == _SAMPLE_LINES else records
    return [split(line, separator, quoted) for line in sample]


def _has_known_header(sample: Sequence[str], separator: str, path: Path, options: ReadOptions) -> bool:
    try:
        columns = split(sample[0], separator)
        found, _ = known_places(columns, given_places(options, columns, str(path)), str(path))
    except DataError:
        return False
    return {"user", "item"} <= found.keys() | {role for role in ("user", "item") if options.column(role)}


# -- tables ----------------------------------------------------------------------------------------------


def _table(sample: Sequence[str], separator: str, path: Path, options: ReadOptions) -> Form:
    quoted = _is_quoted(sample, separator)
    rows = _rows(sample, separator, quoted)
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width < 2:
        raise DataError(f"{path}: the lines are not separated by {separator_name(separator)}; see `separator`")
    columns = header_of(rows, separator, path, options)
    header = bool(columns)
    columns = columns or [f"column {place}" for place in range(1, width + 1)]
    values = columns_of([row for row in rows[header:] if len(row) == len(columns)], len(columns))
    if header:
        places, notes = places_by_name(columns, values, path, options)
    else:
        places, notes = places_by_looks(columns, values, path, options)
    roles = {role: columns[place] for role, place in places.items()}
    return Form("table", separator, header, quoted, tuple(columns), roles, tuple(notes))


def _is_quoted(sample: Sequence[str], separator: str) -> bool:
    """Whether fields may be in double quotes: always between commas, otherwise if most lines have such fields."""
    if separator == "," or len(separator) != 1:
        return separator == ","
    quoted = (any(len(f) > 1 and f[0] == f[-1] == '"' for f in line.split(separator)) for line in sample)
    return sum(quoted) > len(sample) / 2


# -- white space -----------------------------------------------------------------------------------------


def _pairs(sample: Sequence[str], path: Path, options: ReadOptions) -> Form:
    """`user item` or `user item timestamp`, as the user says."""
    first = words(sample[0])
    width = len(first) if len(first) in (2, 3) else 2
    header = options.header and {"user", "item"} <= set(known_roles(first))
    columns = tuple(unique(first) if header else [f"column {place}" for place in range(1, width + 1)])
    given = given_places(options, columns, str(path))
    usual = {role: n for n, role in enumerate(("user", "item", "time")[:width]) if n not in given.values()}
    roles = {role: columns[place] for role, place in (usual | given).items() if place is not None}
    if not {"user", "item"} <= roles.keys():
        raise DataError(f"{path}: no column is left for the user and the item; look at `user_column` and the rest")
    return Form("table", "", header, False, columns, roles)


def _white_space(numbered: Sequence[tuple[int, str]], path: Path, options: ReadOptions) -> Form:
    sample = [line for _, line in numbered]
    rows = [words(line) for line in sample]
    widths = Counter(map(len, rows))
    width, often = widths.most_common(1)[0]
    named = any(options.column(role) for role in ("user", "item", "time", "rating"))
    if len(widths) == 1 and width > _WIDEST and not named:
        return Form("sequences")  # too wide for a table
    if len(widths) == 1 and width > 1:
        if width == 2 or named or _over_numbers(rows) or _has_known_header(sample, "", path, options):
            return _table(sample, "", path, options)
        if not _may_be_sequences(rows, path):
            return _table(sample, "", path, options)
        return Form("sequences")
    if named:
        raise DataError(f"{path}: columns are named, but its lines have between {min(widths)} and {max(widths)} fields")
    if min(widths) < 2 and often < _MOSTLY * len(sample):
        raise DataError(
            f"{path}: the format is not recognised: neither `user item` lines nor a table with one separator; "
            "see `format` and `separator`"
        )
    if len(sample) >= 20 and width in (2, 3, 4) and often >= _MOSTLY * len(sample):
        broken = next(place for place, row in enumerate(rows) if len(row) != width)
        raise DataError(
            f"{path}: either sequences, or lines of {width} fields with a broken line {numbered[broken][0]} "
            f"(it has {len(rows[broken])}); say `format='sequences'`, or fix the file"
        )
    if min(widths) < 2:
        broken = next(number for (number, _), row in zip(numbered, rows, strict=True) if len(row) < 2)
        raise DataError(f"{path}:{broken}: a user without items (expected `user item item ...`)")
    return Form("sequences")


def _over_numbers(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line has words where all others have numbers, like a header."""
    below = columns_of(rows[1:], len(rows[0]))
    return any(looks(column).number and not is_number(name) for name, column in zip(rows[0], below, strict=True))


def _may_be_sequences(rows: Sequence[Sequence[str]], path: Path) -> bool:
    """Whether lines with equal numbers of fields are sequences, with items in all columns after the first.

    Raises DataError if they may be sequences or a table.
    """
    columns = columns_of(rows, len(rows[0]))
    found = [looks(column) for column in columns[1:]]
    if any(look.time for look in found) and not all(look.time for look in found):
        return False
    if not found[-1].number:
        return True
    if len(columns) == 3 and not found[0].number:
        return False
    raise DataError(
        f"{path}: every line has {len(columns)} fields, so the numbers in the last column may be items or something "
        f"else; say `format='sequences'`, or `time_column='{len(columns)}'` or `rating_column='{len(columns)}'`"
    )


# -- records ---------------------------------------------------------------------------------------------


def _records(numbered: Sequence[tuple[int, str]], path: Path, options: ReadOptions) -> Form:
    kind = options.format if options.format != "auto" else ""
    records = []
    for number, line in numbered:
        own = kind or ("json" if _parses(line, "json") else "literals")
        record = parse_record(line, own, f"{path}:{number}")
        kind = kind or own
        records.append(record)
    columns = list(dict.fromkeys(name for record in records for name in record))
    enough = 0.95 * len(records)
    complete = [name for name in columns if sum(record.get(name) not in (None, "") for record in records) >= enough]
    where = str(path)
    given = given_places(options, columns, where)
    everywhere = set(complete)
    usable = [name if name in everywhere or n in given.values() else "" for n, name in enumerate(columns)]
    known, notes = known_places(usable, given, where)
    places = known | {role: place for role, place in given.items() if place is not None}
    if not {"user", "item"} <= places.keys():
        raise DataError(
            f"{where}: no user and item among the fields that every line has ({shown_names(complete)}); "
            "say `user_column=NAME` and `item_column=NAME`"
        )
    for role, place in places.items():
        if any(isinstance(record.get(columns[place]), list | dict) for record in records):
            raise DataError(
                f"{where}: {short(columns[place])!r} holds lists; a line must hold one interaction, not a history"
            )
        if role in ("user", "item") and any(isinstance(record.get(columns[place]), bool) for record in records):
            raise DataError(f"{where}: {short(columns[place])!r} holds true and false, so it cannot be the {role}")
    if "time" not in places and "time" not in given:
        texts = {name: [str(record.get(name, "")) for record in records] for name in columns}
        free = [name for place, name in enumerate(columns) if place not in places.values()]
        refuse_unused_time(near_known(columns, "time"), [name for name in free if looks(texts[name]).time], where)
        notes.append("no times: histories are in the order of the file")
    roles = {role: columns[place] for role, place in places.items()}
    return Form(kind, "", False, False, tuple(columns), roles, tuple(notes))


def _parses(line: str, kind: str) -> bool:
    try:
        parse_record(line, kind, "")
    except DataError:
        return False
    return True
