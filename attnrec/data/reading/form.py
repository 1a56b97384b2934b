"""The layout of a file of interactions: as the user describes it, and as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnrec.core.options import option

FORMATS = ("auto", "pairs", "sequences", "csv", "tsv", "json", "literals", "parquet")
SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": ""}
ROLES = ("user", "item", "time", "rating")
NO_COLUMN = "none"
_GROUP = "Reading files"


def _column(text: str) -> str:
    return option("", _GROUP, text, shown="recognised")


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a file; options at their defaults are recognised from the file.

    A column is given by its name, or by its number counted from 1.
    """

    format: str = option("auto", _GROUP, "Format of the file.", choices=FORMATS)
    user_column: str = _column("Column of users, by name or number.")
    item_column: str = _column("Column of items, by name or number.")
    time_column: str = _column(f"Column of times, by name or number; `{NO_COLUMN}`: file order.")
    rating_column: str = _column("Column of ratings, by name or number.")
    separator: str = _column(f"Separator of fields: {', '.join(SEPARATORS)}, or any characters such as `::`.")
    header: bool = option(True, _GROUP, "Look for a header in the first line.")
    trust_data: bool = option(False, _GROUP, "Use the data even if they look misread.")

    def column(self, role: str) -> str:
        """The column that the user gave for a role; "" if none."""
        return getattr(self, f"{role}_column")


@dataclass(frozen=True)
class Form:
    """The layout of a file.

    Attributes:
        kind: ``table``, ``sequences``, ``json`` or ``literals`` (one object or Python dict per line), or ``parquet``.
        separator: between fields of a table or sequence; "" is any run of white space.
        header: whether the first line names the columns.
        quoted: whether a field may be in double quotes.
        columns: names of the columns, or ``column 1``, ... if the file does not name them.
        roles: the column name of each role that the file has.
        notes: sentences on how this was decided, for the user.
    """

    kind: str
    separator: str = ""
    header: bool = False
    quoted: bool = False
    columns: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def place(self, role: str) -> int:
        """Index of the column of a role, counted from 0."""
        return self.columns.index(self.roles[role])

    def __str__(self) -> str:
        if self.kind == "sequences":
            return "one line per user, `user item item ...`"
        if self.kind == "table":
            between = separator_name(self.separator)
            return f"lines separated by {between}, " + ("with a header" if self.header else "without a header")
        return {
            "json": "one JSON object per line",
            "literals": "one Python literal per line",
            "parquet": "Parquet",
            "frame": "a data frame",
        }[self.kind]


def separator_name(separator: str) -> str:
    """``tab``, ``white space``, ... for a message."""
    if not separator:
        return "white space"
    return next((name for name, character in SEPARATORS.items() if character == separator), repr(separator))


@dataclass(frozen=True)
class Reading:
    """What was read from a source, and how, as shown to the user.

    Attributes:
        source: the file, or the kind of frame.
        form: the layout in which it was read.
        lines: number of records in the source; for sequences, of interactions.
        dropped: how many of them were left out, by reason.
        notes: further sentences, such as the unit of times.
        hash: BLAKE2b of the file, for prepared data; "" otherwise.
    """

    source: str
    form: str
    roles: Mapping[str, str]
    lines: int
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()
    hash: str = ""

    @property
    def kept(self) -> int:
        return self.lines - sum(self.dropped.values())
