"""Tables in memory (pandas, polars, pyarrow and others that narwhals supports), and Parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attnrec.data.interactions import CATEGORY_SEPARATOR, DataError
from attnrec.data.reading.assemble import DATES, MISSING, NUMBER_ROLES, Columns, Floats, coded, moments
from attnrec.data.reading.columns import given_places, is_number, known_places, looks, near_known
from attnrec.data.reading.form import Form, ReadOptions
from attnrec.data.reading.roles import refuse_names, refuse_unused_time

_SAMPLE = 1000


def is_frame(value: object) -> bool:
    """Whether `arrow_table` takes this value."""
    import narwhals as nw

    try:
        nw.from_native(value)  # type: ignore[call-overload]
    except nw.exceptions.DuplicateError:
        return True  # a table with two columns of one name, which reading refuses
    except TypeError:
        return False
    return True


def arrow_table(frame: Any) -> pa.Table:
    """A frame of pandas, polars, pyarrow or another library that narwhals supports, as a pyarrow table."""
    import narwhals as nw

    try:
        native = nw.from_native(frame)
        eager = native.collect() if isinstance(native, nw.LazyFrame) else native
        return eager.to_arrow()
    except nw.exceptions.DuplicateError:
        raise DataError("the data frame has two columns of the same name") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, UnicodeEncodeError) as error:
        raise DataError(f"the data frame has a column that is not of one type ({str(error).splitlines()[0]})") from None


def read_parquet(path: Path, options: ReadOptions, roles: Sequence[str]) -> tuple[Columns, Form]:
    """The columns of ``roles`` of a Parquet file, and its layout, found from its first rows; reads no other column.

    Raises DataError if it is damaged or has two columns of the same name, and as `table_form` and `read_columns`.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError(f"{path} has two columns of the same name")
            sample = pa.Table.from_batches(list(islice(file.iter_batches(_SAMPLE), 1)), file.schema_arrow)
        form = table_form(sample, "parquet", str(path), options)
        used = [form.roles[role] for role in roles if role in form.roles]
        table = pq.read_table(path, columns=used, read_dictionary=used)
        return read_columns(table, form, roles, str(path)), form
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: it cannot be read as Parquet ({str(error).splitlines()[0]})") from None


def table_form(table: pa.Table, kind: str, where: str, options: ReadOptions) -> Form:
    """The roles of the columns, by name.

    Raises DataError if no column is known as user or item, or an unused column looks like times.
    """
    columns = table.column_names
    given = given_places(options, columns, where)
    known, notes = known_places(columns, given, where)
    places = known | {role: place for role, place in given.items() if place is not None}
    if not {"user", "item"} <= places.keys():
        refuse_names(columns, where)
    if "time" not in places and "time" not in given:
        timed = [
            name
            for place, name in enumerate(columns)
            if place not in places.values() and (_is_moment(table[name].type) or _looks_timed(table[name]))
        ]
        refuse_unused_time(near_known(columns, "time"), timed, where)
        notes.append("no times: histories are in the order of the rows")
    roles = {role: columns[place] for role, place in places.items()}
    return Form(kind, columns=tuple(columns), roles=roles, notes=tuple(notes))


def _is_moment(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _is_finer(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.unit == "ns"


def _looks_timed(values: pa.ChunkedArray) -> bool:
    sample = values.slice(0, _SAMPLE)
    return not pa.types.is_nested(values.type) and looks(["" if v is None else str(v) for v in sample.to_pylist()]).time


def read_columns(table: pa.Table, form: Form, roles: Sequence[str], where: str) -> Columns:
    """The columns of ``roles`` that the form has; DataError for a column whose type does not fit its role."""
    text, numbers = {}, {}
    notes: list[str] = []
    for role in roles:
        if role not in form.roles:
            continue
        values = table[form.roles[role]]
        what = f"{where}: the column {form.roles[role]!r}"
        if role in NUMBER_ROLES:
            numbers[role], dated = _as_numbers(values, role, what)
            notes += [DATES] * dated
        elif role in ("user", "item"):
            text[role] = coded(_as_text(values, role, what, notes))
        else:
            if role == "categories" and pa.types.is_list(values.type):
                values = pc.binary_join(values, CATEGORY_SEPARATOR)
            try:
                text[role] = coded(_as_text(values, role, what, notes))
            except DataError as error:
                notes.append(f"not read: {error}")
    return Columns(text, numbers, notes=tuple(notes))


def _as_text(values: pa.ChunkedArray, role: str, what: str, notes: list[str]) -> pa.ChunkedArray:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        if pa.types.is_dictionary(values.type):
            return values
        return values.cast(pa.large_string()).fill_null("")
    if pa.types.is_dictionary(values.type) and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        values = values.cast(kind)
    if pa.types.is_float16(kind):
        values, kind = values.cast(pa.float32()), pa.float32()
    if pa.types.is_floating(kind):
        whole = pc.floor(values)
        if not pc.all(pc.and_(pc.equal(whole, values), pc.less(pc.abs(values), 2.0**53))).as_py():
            raise DataError(f"{what} holds fractions, NaN or huge numbers, so it cannot be the {role}")
        notes.append(f"{role} numbers with a decimal point are written without it")
        values = whole.cast(pa.int64())
        kind = values.type
    if not (pa.types.is_integer(kind)):
        raise DataError(f"{what} is of type {kind}, so it cannot be the {role}; it needs text or whole numbers")
    return values.cast(pa.string()).fill_null("")


def _as_numbers(values: pa.ChunkedArray, role: str, what: str) -> tuple[Floats, bool]:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if role == "time" and _is_moment(kind):
        try:
            exact = values.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=not _is_finer(kind))
        except pa.ArrowInvalid:
            raise DataError(f"{what} holds a date out of range") from None
        ticks = exact.cast(pa.int64())
        return np.asarray(ticks.cast(pa.float64(), safe=False).fill_null(np.nan)) / 1e6, True
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        read = np.asarray(values.cast(pa.float64(), safe=False).fill_null(np.nan))
        if np.isinf(read).any():
            raise DataError(f"{what} holds a value that is not finite, so it cannot be the {role}")
        return read, False
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts = pc.utf8_trim_whitespace(values.cast(pa.string()).fill_null(""))
        texts = pc.if_else(pc.is_in(texts, pa.array(sorted(MISSING))), "", texts)
        sample = [text for text in texts.slice(0, _SAMPLE).to_pylist() if text]
        if all(map(is_number, sample)):
            with contextlib.suppress(pa.ArrowInvalid):
                filled = pc.if_else(pc.equal(texts, ""), None, texts)
                read = np.asarray(filled.cast(pa.float64()).fill_null(np.nan))
                if np.isfinite(read).sum() == len(filled) - filled.null_count:
                    return read, False
        read_dates = moments(texts, last_way=True) if role == "time" else None
        if read_dates is not None:
            return read_dates, True
    raise DataError(f"{what} is of type {kind}, and its values cannot be read as {role}s")
