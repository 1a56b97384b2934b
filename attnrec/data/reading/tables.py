"""Text files of lines: tables with a separator, and sequences.

Tables go through pyarrow's reader. If a file has anything unusual (lines of another width, stray quotes, carriage
returns, values that cannot be parsed), a plain reader decides: it reads the file, or names the line that is wrong.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from attnrec.data.interactions import DataError
from attnrec.data.reading.assemble import (
    MISSING,
    MOST_DROPPED,
    NUMBER_ROLES,
    Column,
    Columns,
    coded,
    from_arrow,
    values_of,
)
from attnrec.data.reading.columns import KNOWN, is_date, is_number, plain
from attnrec.data.reading.form import Form
from attnrec.data.reading.recognise import split, words
from attnrec.data.reading.source import Account, TextStream, blocks, decode, is_regular, lines

_BLOCK = 1 << 22
_FEW_AGAIN = 0.05
_STAND_IN = "\x1f"  # replaces separators of more than one character
_RUNS = re.compile(rb" {2,}")


def read_table(path: Path, form: Form, roles: Sequence[str], *, forced: bool = False) -> Columns:
    """The columns of ``roles`` that the form has.

    Raises DataError, with file and line, for a line of another width or a value that cannot be parsed; and, unless
    ``forced``, if a double quote seems to swallow lines.
    """
    roles = [role for role in roles if role in form.roles]
    fast = _by_pyarrow(path, form, roles)
    return _plainly(path, form, roles, forced) if fast is None else fast


# -- fast ------------------------------------------------------------------------------------------------


def _by_pyarrow(path: Path, form: Form, roles: Sequence[str]) -> Columns | None:
    """As `read_table`; None if anything is unusual."""
    delimiter, change = _delimiter(form)
    places = {role: form.place(role) for role in roles}
    names = [str(place) for place in range(len(form.columns))]
    kinds = {str(place): _kind(role) for role, place in places.items()}
    for dated in (False, True):
        if dated and "time" in places:
            kinds[str(places["time"])] = pa.string()
        account = Account(header=form.header)
        try:
            table = pa.csv.read_csv(
                pa.PythonFile(TextStream(path, account, change), mode="r"),
                pa.csv.ReadOptions(column_names=names, skip_rows=int(form.header), block_size=_BLOCK),
                pa.csv.ParseOptions(delimiter=delimiter, quote_char='"' if form.quoted else False),
                pa.csv.ConvertOptions(column_types=kinds, include_columns=list(kinds), null_values=sorted(MISSING)),
            )
        except pa.ArrowInvalid:
            continue
        if account.blank_start or not table.num_rows:
            return None
        if (account.unusual or table.num_rows != account.lines - form.header) and not is_regular(
            path, form.separator, form.quoted, table.num_rows + form.header
        ):
            return None
        return from_arrow({role: table.column(str(place)) for role, place in places.items()})
    return None


def _kind(role: str) -> pa.DataType:
    return pa.float64() if role in NUMBER_ROLES else pa.dictionary(pa.int32(), pa.string())


def _delimiter(form: Form) -> tuple[str, Callable[[bytes], bytes] | None]:
    """A single-character separator, and the change to make to the text first, if any."""
    if len(form.separator) == 1 and form.separator.isascii():
        return form.separator, None
    if form.separator:
        multiple = form.separator.encode()
        return _STAND_IN, lambda block: block.replace(multiple, _STAND_IN.encode())
    return " ", _single_spaces


_TO_SPACES = bytes.maketrans(b"\t\v\f\r", b"    ")


def _single_spaces(block: bytes) -> bytes:
    if any(character in block for character in (b"\t", b"\v", b"\f", b"\r")):
        block = block.translate(_TO_SPACES)
    if b"  " in block:
        block = _RUNS.sub(b" ", block)
    if b" \n" in block or b"\n " in block or block[:1] == b" " or block[-1:] == b" ":
        block = b"\n".join(line.strip(b" ") for line in block.split(b"\n"))
    return block


# -- plain -----------------------------------------------------------------------------------------------


def _plainly(path: Path, form: Form, roles: Sequence[str], forced: bool) -> Columns:
    places = {role: form.place(role) for role in roles}
    found: dict[str, list[str]] = {role: [] for role in roles}
    numbers: list[int] = []
    width = len(form.columns)
    for number, fields in _rows(path, form, forced):
        if len(fields) != width:
            raise DataError(f"{path}:{number}: expected {width} fields, found {len(fields)}")
        numbers.append(number)
        for role, place in places.items():
            found[role].append(fields[place])
    columns = values_of(found, str(path), numbers)
    over = (numbers[-1] if numbers else 0) - form.header - len(numbers) if form.quoted else 0
    if over > 0:
        note = f"{over:,} lines are blank, or continue a quoted field from the line before"
        columns = replace(columns, notes=(*columns.notes, note))
    return columns


def _rows(path: Path, form: Form, forced: bool) -> Iterator[tuple[int, list[str]]]:
    """Number of its (last) line and fields of every record, without the header."""
    if form.quoted:
        rows = _quoted_rows(path, form, forced)
    else:
        rows = ((number, split(line, form.separator, quoted=False)) for number, line in lines(path))
    if form.header:
        next(rows, None)
    yield from rows


def _quoted_rows(path: Path, form: Form, forced: bool) -> Iterator[tuple[int, list[str]]]:
    numbers = swallowed = first = 0
    taken: list[str] = []  # the lines of one record

    def text() -> Iterator[str]:
        nonlocal numbers
        for block in blocks(path):
            for line in block.removesuffix(b"\n").split(b"\n"):
                numbers += 1
                taken.append(decode(line + b"\n", path, numbers))
                yield taken[-1]

    rows = csv.reader(text(), delimiter=form.separator, strict=True)
    try:
        for fields in rows:
            if len(taken) > 1 and all(_may_be_row(line, form) for line in taken):
                first = first or rows.line_num - len(taken) + 1
                swallowed += len(taken) - 1
            taken.clear()
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield rows.line_num, fields
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: {error}") from None
    if swallowed > MOST_DROPPED * numbers and not forced:
        raise DataError(
            f"{path}:{first}: a double quote joins this line and the next ones, though each looks complete "
            f"({swallowed:,} of {numbers:,} lines are lost this way); fix the file, or say `trust_data=True`"
        )


def _may_be_row(line: str, form: Form) -> bool:
    """Whether a line, ignoring quotes, has all columns and a valid time, if there is a column of times."""
    fields = line.split(form.separator)
    if len(fields) != len(form.columns):
        return False
    if "time" not in form.roles:
        return True
    time = fields[form.place("time")].strip('" \r\n')
    return is_number(time) or is_date(time)


# -- sequences -------------------------------------------------------------------------------------------


_HEADERS = (*KNOWN["item"], "items", "history", "sequence", "itemids")  # names of the second column


def read_sequences(path: Path, form: Form, *, forced: bool = False) -> Columns:
    """A user and the items of its history from each line.

    Raises DataError with the line for a user without items, and, unless ``forced``, when many users have several lines.
    """
    users: list[str] = []
    counts: list[int] = []
    chunks = []
    tokens: list[str] = []
    for number, line in lines(path):
        user, *items = words(line) if not form.separator else line.split(form.separator)
        if not items:
            raise DataError(f"{path}:{number}: a user without items (expected `user item item ...`)")
        if not users and plain(user) in KNOWN["user"] and plain(items[0]) in _HEADERS:
            raise DataError(
                f"{path}:{number}: {line.strip()[:80]!r} is a header, which sequences do not have: remove it"
            )
        users.append(user)
        counts.append(len(items))
        tokens += items
        if len(tokens) > _BLOCK:
            chunks.append(pa.array(tokens, pa.string()))
            tokens = []
    chunks.append(pa.array(tokens, pa.string()))
    by_line = coded(pa.array(users, pa.string()))
    again = len(users) - len(by_line.names)
    if again > _FEW_AGAIN * len(users) and not forced:
        raise DataError(
            f"{path}: {again:,} of {len(users):,} lines repeat the user of an earlier line, so these are probably not "
            "sequences; see `format`, or say `trust_data=True`"
        )
    text = {"user": Column(np.repeat(by_line.codes, counts), by_line.names), "item": coded(pa.chunked_array(chunks))}
    notes = (
        (f"{again:,} of {len(users):,} lines go on with the history of a user that has one before",) if again else ()
    )
    return Columns(text, {}, notes=notes)
