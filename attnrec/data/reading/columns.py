"""Recognising columns by their names and by what their values look like.

Names are compared without case, punctuation, or a type after a colon (`user_id:token`, as RecBole writes them).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from attnrec.core.errors import nearest
from attnrec.core.options import named
from attnrec.data.interactions import DataError
from attnrec.data.reading.form import NO_COLUMN, ROLES, ReadOptions

KNOWN = {
    "user": (
        *("user", "userid", "uid", "reviewerid", "visitorid", "customerid", "memberid", "accountid", "playerid"),
        *("username", "sessionid"),
    ),
    "item": (
        *("item", "itemid", "iid", "movieid", "parentasin", "asin", "productid", "businessid", "isbn", "bookid"),
        *("gmapid", "trackid", "songid", "artistid", "gameid", "appid", "articleid", "newsid", "poiid", "venueid"),
    ),
    "time": (
        *("timestamp", "time", "ts", "unixreviewtime", "unixtime", "datetime", "eventtime", "date", "createdat"),
        *("reviewtime", "dateadded"),
    ),
    "rating": ("rating", "overall", "stars", "score", "bookrating", "weight"),
    "title": ("itemtitle", "itemname", "movietitle", "producttitle", "trackname"),
    "categories": ("itemcategories", "itemcategory", "itemgenres"),
    "part": ("part", "split"),
}
"""Known column names of each role, the preferred one first."""

# two names of one role that publishers use together; the order in `KNOWN` says which one is the id
SIDE_BY_SIDE = {frozenset({"parentasin", "asin"}), frozenset({"userid", "username"})}

_AGAIN = re.compile(r" \(\d+\)$")  # as `unique` makes it
_LONGEST = 40  # characters of a name in a message
_NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
_LONGEST_NUMBER = 400  # characters
DATE_PATTERN = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?\s?(Z|UTC|[-+]\d{2}:?\d{2})?)?"
"""ISO 8601 as `parse_date` takes it, for Python and for RE2."""
DATE_EXAMPLE = "2014-04-29 or 2014-04-29T20:30:15Z"
_DATE = re.compile(DATE_PATTERN, re.ASCII)
_SLASHED = re.compile(r"(\d{4})[/.](\d{2})[/.](\d{2})\b", re.ASCII)  # year first, so not ambiguous
# dates in forms that are not read: 29/04/2014, 4/29/2014 8:26, Thu Jun 19 07:50:19 +0000 2014, April 29, 2014
_OTHER_DATE = re.compile(
    r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b.*|([A-Z][a-z]{2},? )?[A-Z][a-z]{2,8}\.? \d{1,2}\b.*\d{4}.*"
)
_REVIEW_DATE = re.compile(r"\d{1,2} \d{1,2}, \d{4}", re.ASCII)
# seconds, milliseconds, microseconds and nanoseconds of the years 1985 to 2065
_MOMENTS = tuple((4.7e8 * unit, 3.0e9 * unit) for unit in (1, 1e3, 1e6, 1e9))
_ASIN = re.compile(r"B[0-9A-Z]{9}|\d{9}[\dX]")
_REVIEWER = re.compile(r"A[0-9A-Z]{10,27}")


def plain(name: str) -> str:
    """A column's name in the form in which names are compared."""
    return re.sub(r"[^a-z0-9]", "", _AGAIN.sub("", name).split(":")[0].lower())


def unique(names: Sequence[str]) -> list[str]:
    """Names of columns; a name that an earlier column has too gets its number appended."""
    return [f"{name} ({place})" if name in names[: place - 1] else name for place, name in enumerate(names, 1)]


def short(name: str) -> str:
    """A name or value as a message shows it, in one line."""
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."


def is_number(text: str) -> bool:
    """Whether it is a finite decimal number (no `nan`, `inf`, `1_000` or `0x10`)."""
    return len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) is not None and abs(float(text)) < float("inf")


def is_date(text: str) -> bool:
    """Whether it is a date, or date and time, that `parse_date` takes."""
    try:
        parse_date(text)
    except ValueError:
        return False
    return True


def parse_date(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 date (UTC unless it has a zone), or of a date such as Amazon's ``09 13, 2009``.

    Raises ValueError for any other text.
    """
    text = _SLASHED.sub(r"\1-\2-\3", text.strip(), count=1)
    if _REVIEW_DATE.fullmatch(text):
        moment = datetime.strptime(text, "%m %d, %Y")
    elif _DATE.fullmatch(text):
        text = re.sub(r"\s?(Z|UTC)$", "+00:00", text).replace(",", ".")
        text = re.sub(r"(\.\d{6})\d+", r"\1", text)
        moment = datetime.fromisoformat(text)
    else:
        raise ValueError(text)
    zone = moment.utcoffset()
    since = moment.replace(tzinfo=None) - datetime(1970, 1, 1)
    return (since - zone if zone else since).total_seconds()


@dataclass(frozen=True)
class Looks:
    """What the values of a column look like, from a sample.

    Attributes:
        number: all are numbers.
        time: nearly all are moments in seconds (or a fraction of them) since 1970, or dates.
        rating: few different numbers from 0 to 10.
    """

    number: bool
    time: bool
    rating: bool


def looks(values: Sequence[str]) -> Looks:
    """What a column's values look like; "" counts as missing."""
    values = [value for value in values if value.strip()]
    if not values:
        return Looks(False, False, False)
    numbers = [float(value) for value in values if is_number(value)]
    all_numbers = len(numbers) == len(values)
    if not all_numbers:
        dated = sum(is_date(value) or _OTHER_DATE.fullmatch(value.strip()) is not None for value in values)
        dates = len(numbers) <= 0.1 * len(values) and dated >= 0.9 * len(values)
        return Looks(False, dates, False)
    moments = any(sum(low <= number <= high for number in numbers) >= 0.9 * len(numbers) for low, high in _MOMENTS)
    different = set(numbers)
    rating = len(different) <= 21 and all(0 <= number <= 10 and number * 10 % 5 == 0 for number in different)
    return Looks(True, moments, rating and len(values) > len(different))


def is_place(name: str) -> bool:
    """Whether a column is given by its number."""
    return len(name) < 10 and name.isascii() and name.isdigit()


def given_places(options: ReadOptions, columns: Sequence[str], where: str) -> dict[str, int | None]:
    """The indices of the columns that the user named; None for a role that the user says is absent.

    Raises DataError for a column that does not exist, or that is given two roles.
    """
    found: dict[str, int | None] = {}
    for role in ROLES:
        name = options.column(role)
        if not name:
            continue
        if name == NO_COLUMN and role in ("time", "rating"):
            found[role] = None
        elif is_place(name) and 1 <= int(name) <= len(columns):
            found[role] = int(name) - 1
        elif name in columns:
            found[role] = columns.index(name)
        else:
            what = f"{len(columns)} columns" if name.isdigit() else "no such column" + nearest(name, columns)
            raise DataError(f"{where}: {named(role + '_column', name)}: there are {what}".replace("are no", "is no"))
    places = [place for place in found.values() if place is not None]
    if len(set(places)) < len(places):
        raise DataError(f"{where}: one column cannot have two roles; look at `user_column`, `item_column` and the rest")
    return found


def known_places(
    columns: Sequence[str], taken: Mapping[str, int | None], where: str
) -> tuple[dict[str, int], list[str]]:
    """The indices of columns with known names, except for roles in ``taken``; and notes.

    Raises DataError if two columns may be the user or the item.
    """
    names = [plain(name) for name in columns]
    where_named: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        where_named.setdefault(name, []).append(place)
    found: dict[str, int] = {}
    notes = []
    for role, known in KNOWN.items():
        if role in taken:
            continue
        places = [place for name in known for place in where_named.get(name, ()) if place not in taken.values()]
        if not places:
            continue
        others = [names[place] for place in places[1:]]
        if others and role in ("user", "item") and frozenset({names[places[0]], *others}) not in SIDE_BY_SIDE:
            shown = " and ".join(repr(short(columns[place])) for place in places)
            raise DataError(f"{where}: {shown} may each be the {role}; say which with `{role}_column=NAME`")
        if others:
            rest = ", ".join(repr(short(columns[place])) for place in places[1:])
            notes.append(f"the {role} is {short(columns[places[0]])!r}; there is also {rest}")
        found[role] = places[0]
    return found, notes


def near_known(columns: Sequence[str], role: str) -> str | None:
    """A column whose name is similar to a known one of the role, or None."""
    for column in columns:
        if any(character.isdigit() for character in column):
            continue  # more likely an id than a name
        close = difflib.get_close_matches(plain(column), KNOWN[role], n=1, cutoff=0.8)
        if close and plain(column) not in {name for names in KNOWN.values() for name in names}:
            return column
    return None


def items_first(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two columns are Amazon's product and reviewer numbers, in this order."""

    def share(pattern: re.Pattern[str], values: Sequence[str]) -> float:
        return sum(pattern.fullmatch(value) is not None for value in values) / max(1, len(values))

    return share(_ASIN, first) > 0.95 and share(_REVIEWER, second) > 0.95
