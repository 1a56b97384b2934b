"""Finding the roles of a table's columns: from the user's options, a header's names, or what the values look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from attnrec.core.options import named
from attnrec.data.interactions import DataError
from attnrec.data.reading.columns import (
    KNOWN,
    given_places,
    is_date,
    is_number,
    is_place,
    items_first,
    known_places,
    looks,
    near_known,
    plain,
    short,
    unique,
)
from attnrec.data.reading.form import ReadOptions


def columns_of(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The values of each column, for rows of ``width`` fields."""
    return [[row[place] for row in rows] for place in range(width)]


def header_of(rows: Sequence[Sequence[str]], separator: str, path: Path, options: ReadOptions) -> list[str]:
    """The names in the first line, stripped; empty if the line is data.

    Raises DataError if it may be either, or if its names are not known.
    """
    if not options.header:
        return []
    names = unique([name.strip() for name in rows[0]])
    given = [options.column(role) for role in ("user", "item", "time", "rating")]
    if any(name in names for name in given if name and not is_place(name)):
        return names
    by_place = all(map(is_place, given[:2]))
    counted = any(names == [str(start + place) for place in range(len(names))] for start in (0, 1))
    if counted and len(rows) > 1 and len(names) > 2 and not by_place:
        raise DataError(
            f"{path}:1: the first line numbers the columns; say `user_column=N` and `item_column=N`, or `header=False`"
        )
    if any(name.endswith("_seq") and plain(name).startswith(("item", "user")) for name in names):
        raise DataError(f"{path}:1: a column holds sequences ({shown_names(names)}); a line must hold one interaction")
    known = set(known_roles(names))
    if {"user", "item"} <= known or (by_place and (known & {"user", "item"} or (counted and len(rows) > 1))):
        return names
    return names if _names_unknown_columns(names, rows, separator, path, by_place=by_place) else []


def _names_unknown_columns(
    names: Sequence[str], rows: Sequence[Sequence[str]], separator: str, path: Path, *, by_place: bool
) -> bool:
    """Whether a first line without known names is a header, if the user gives columns by number.

    Raises DataError if it looks like a header but the user does not give columns by number, or if it may be either.
    """
    below = columns_of([row for row in rows[1:] if len(row) == len(names)], len(names))
    over_numbers = any(look.number or look.time for look in map(looks, below))
    words_only = any(names) and not any(is_number(name) or is_date(name) for name in names if name)
    is_header = len(rows) > 1 and over_numbers and words_only
    named = bool(known_roles(names)) and not by_place
    if (is_header and not by_place) or named or near_known(names, "user") or near_known(names, "item"):
        refuse_names(names, f"{path}:1")
    recurs = any(name in column for name, column in zip(names, below, strict=True))
    if separator and len(rows) > 1 and not over_numbers and not recurs:
        raise DataError(
            f"{path}:1: {shown_names(names)} may be a header or the first line of data; "
            "say `user_column=NAME` and `item_column=NAME`, or `header=False`"
        )
    return is_header


def known_roles(names: Sequence[str]) -> list[str]:
    """The roles for which one of the names is known."""
    return [role for role, known in KNOWN.items() if any(plain(name) in known for name in names)]


def refuse_names(names: Sequence[str], where: str) -> NoReturn:
    """Raise a DataError: the names do not tell which columns are the user and the item."""
    near = [(role, near_known(names, role)) for role in ("user", "item")]
    hints = [f"{short(name)!r} may be the {role}" for role, name in near if name]
    raise DataError(
        f"{where}: no known user and item column (there is {shown_names(names)})"
        + (f"; {' and '.join(hints)}" if hints else "")
        + "; say `user_column=NAME` and `item_column=NAME`"
        + (", or `header=False` if this line is data" if where.endswith(":1") else "")
    )


def refuse_unused_time(near: str | None, timed: Sequence[str], where: str) -> None:
    """Raise DataError if no column is used as time, but one has a similar name or looks like times."""
    for name in [near] if near else timed[:1]:
        why = "is named almost like a time" if near else "looks like times"
        raise DataError(
            f"{where}: the column {short(name)!r} {why}; say {named('time_column', short(name))} to order by it, "
            "or `time_column='none'` for the order of the file"
        )


def shown_names(names: Sequence[str]) -> str:
    """The first twelve names, for a message."""
    return ", ".join(map(short, names[:12])) + (", ..." if len(names) > 12 else "")


def places_by_name(
    columns: Sequence[str], values: Sequence[Sequence[str]], path: Path, options: ReadOptions
) -> tuple[dict[str, int], list[str]]:
    """Roles of columns with names, and notes; DataError if user or item is not known, or a time column is unused."""
    where = f"{path}:1"
    given = given_places(options, columns, where)
    known, notes = known_places(columns, given, where)
    places = known | {role: place for role, place in given.items() if place is not None}
    if not {"user", "item"} <= places.keys():
        refuse_names(columns, where)
    if "time" in known and not looks(values[known["time"]]).time:
        better = [name for name, own in zip(columns, values, strict=True) if looks(own).time]
        if better:
            raise DataError(
                f"{where}: {short(columns[known['time']])!r} is named like a time, but {short(better[0])!r} looks like "
                "one; say which with `time_column=NAME`"
            )
    if "time" not in places and "time" not in given:
        free = [place for place in range(len(columns)) if place not in places.values()]
        timed = [columns[place] for place in free if looks(values[place]).time]
        refuse_unused_time(near_known(columns, "time"), timed, where)
        notes.append("no times: histories are in the order of the file")
    if "rating" not in places and "rating" not in given and (near := near_known(columns, "rating")):
        notes.append(f"the column {short(near)!r} is named almost like a rating, but not read; see `rating_column`")
    return places, notes


def places_by_looks(
    columns: Sequence[str], values: Sequence[Sequence[str]], path: Path, options: ReadOptions
) -> tuple[dict[str, int], list[str]]:
    """Roles of columns without names; DataError if the values do not decide."""
    where = str(path)
    given = given_places(options, columns, where)
    places = {role: place for role, place in given.items() if place is not None}
    look = [looks(own) for own in values]
    free = [place for place in range(len(columns)) if place not in places.values()]
    times = [place for place in free if look[place].time and len(columns) > 2]
    if "time" not in given and times == [0]:
        raise DataError(
            f"{where}: no header, and column 1 looks like times, or users with such numbers; say `user_column=N`, "
            "`item_column=N` and `time_column=N`"
        )
    if "time" not in given and len(times) == 1:
        places["time"] = times[0]
    elif "time" not in given and times:
        raise DataError(f"{where}: {_numbers(times)} look like times; say which with `time_column=N` (or none)")
    free = [place for place in free if place not in places.values() and place not in times]
    ratings = [place for place in free if look[place].rating and place > 1]
    if "rating" not in given and len(ratings) == 1:
        places["rating"] = ratings[0]
        free.remove(ratings[0])
    needed = [role for role in ("user", "item") if role not in places]
    if len(free) != len(needed) and needed:
        _refuse_places(free, look, where, {"user", "item"} - places.keys(), "time" in places or "time" in given)
    if len(needed) == 2 and items_first(values[free[0]], values[free[1]]):
        needed.reverse()
    places |= dict(zip(needed, free, strict=False))
    how = "by their values" if len(columns) > 2 else "by their order, user first"
    notes = [f"without a header, columns are recognised {how}"] if needed else []
    if "time" not in places:
        notes.append("no times: histories are in the order of the file")
    return places, notes


def _refuse_places(free: Sequence[int], look: Sequence[Any], where: str, needed: set[str], timed: bool) -> None:
    if len(free) < len(needed):
        raise DataError(f"{where}: no column is left for the {' and the '.join(sorted(needed))}; name the columns")
    last = free[-1]
    if len(free) == len(needed) + 1 and look[last].number and not timed:
        raise DataError(
            f"{where}: column {last + 1} may hold times, ratings or items; "
            f"say `time_column='{last + 1}'`, `rating_column='{last + 1}'`, or `format='sequences'`"
        )
    raise DataError(
        f"{where}: no header, and {_numbers(free)} may each be the {' or the '.join(sorted(needed))}; "
        "say `user_column=N` and `item_column=N`"
    )


def _numbers(places: Sequence[int]) -> str:
    if len(places) > 8:
        return f"columns {places[0] + 1}, {places[1] + 1}, ... and {places[-1] + 1}"
    return "columns " + ", ".join(str(place + 1) for place in places[:-1]) + f" and {places[-1] + 1}"
