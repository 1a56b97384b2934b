"""Reading interaction files and frames; anything ambiguous is refused.

| kind | what a line holds | order of a history |
|---|---|---|
| table | columns, named by a header or recognised by their values | by time, else as in the file |
| sequences | `user item item item ...` | as in the line |
| JSON, Python literals | an object with named fields | as for tables |
| Parquet, frames | columns with names | as for tables |

Ids are text. Equal times keep the order of the file. `Interactions.reading` says what was read, and how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.prepared import account_of
from attnrec.data.reading.assemble import Columns, to_interactions
from attnrec.data.reading.columns import short
from attnrec.data.reading.form import Form, Reading, ReadOptions
from attnrec.data.reading.frames import arrow_table, read_columns, read_parquet, table_form
from attnrec.data.reading.recognise import recognise
from attnrec.data.reading.records import read_records
from attnrec.data.reading.source import is_parquet
from attnrec.data.reading.suspicion import odd_times, refuse_suspicious
from attnrec.data.reading.tables import read_sequences, read_table

ROLES = ("user", "item", "time", "title", "categories", "part")


def read_interactions(path: str | Path, options: ReadOptions = ReadOptions()) -> Interactions:  # noqa: B008
    """Read a file of interactions.

    Args:
        path: a file of any of the kinds above, perhaps compressed (gzip, zstd, bz2, lz4, zip of one file).
        options: what the user says about it.

    Raises:
        DataError: the file is missing, unreadable or empty, it is not clear how it is laid out, a line does not parse
            (file and line number), or what was read looks misread.
    """
    path = Path(path)
    columns, reading, form = read_file(path, options, ROLES)
    data = to_interactions(columns, dataset_name(path))
    if form.kind == "parquet" and account_of(path) is not None:
        return replace(data, reading=reading)  # it was checked when it was prepared
    return judged(data, reading, form, options)


def read_file(path: Path, options: ReadOptions, roles: Sequence[str]) -> tuple[Columns, Reading, Form]:
    """The complete lines of a file as columns, how it was read, and its layout; raises as `read_interactions`."""
    if is_parquet(path):
        columns, form = read_parquet(path, options, roles)
    elif options.format == "parquet":
        raise DataError(f"{path} is not a Parquet file")
    else:
        form = recognise(path, options)
        if form.kind == "sequences":
            columns = read_sequences(path, form, forced=options.trust_data)
        elif form.kind == "table":
            columns = read_table(path, form, roles, forced=options.trust_data)
        else:
            columns = read_records(path, form, roles)
    return _completed(columns, form, str(path), options)


def read_frame(frame: Any, options: ReadOptions, roles: Sequence[str]) -> tuple[Columns, Reading, Form]:
    """As `read_file`, of a table in memory (pandas, polars, pyarrow, ...)."""
    table = arrow_table(frame)
    where = f"the {type(frame).__module__.split('.')[0]} table"
    form = table_form(table, "frame", where, options)
    return _completed(read_columns(table, form, roles, where), form, where, options)


def _completed(columns: Columns, form: Form, where: str, options: ReadOptions) -> tuple[Columns, Reading, Form]:
    if not len(columns):
        raise DataError(f"{where} is empty")
    roles = dict(form.roles)
    if all(roles.get(role) in columns.text[role].names for role in ("user", "item")):
        raise DataError(f"{where}: a line repeats the header ({short(roles['user'])!r}, {short(roles['item'])!r})")
    if "part" in roles:
        columns, named = columns.with_parts(where)
        if not named:
            note = f"the column {roles.pop('part')} is not read: its values are not train, valid and test"
            columns = replace(columns, notes=(*columns.notes, note))
    complete = columns.complete(where, forced=options.trust_data, tidy=form.kind != "parquet")
    if not len(complete):
        raise DataError(f"{where}: none of {len(columns):,} lines is complete")
    notes = (*form.notes, *complete.notes)
    reading = Reading(where, str(form), roles, len(columns), complete.dropped, notes)
    return complete, reading, form


def judged(data: Interactions, reading: Reading, form: Form, options: ReadOptions) -> Interactions:
    """The data with notes on how they were read; DataError if they look misread, unless the user trusts them."""
    if not options.trust_data:
        by_name = form.header or form.kind not in ("table", "sequences") or bool(options.item_column)
        refuse_suspicious(data, reading.source, form, item_named=by_name, time_named=bool(options.time_column))
    odd = odd_times(data)
    return replace(data, reading=replace(reading, notes=(*reading.notes, odd)) if odd else reading)


def dataset_name(path: Path) -> str:
    """What tables call the data set: the file's name without its endings."""
    name = path.name
    for ending in (".gz", ".zst", ".bz2", ".lz4", ".zip"):
        name = name.removesuffix(ending)
    return Path(name).stem or path.name
