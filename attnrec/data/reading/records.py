"""Files with one object per line: JSON, or Python literals as in the Steam reviews."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from attnrec.data.interactions import DataError
from attnrec.data.reading.assemble import Columns, from_arrow, values_of
from attnrec.data.reading.form import Form
from attnrec.data.reading.source import Account, TextStream, lines

_BLOCK = 1 << 23
_IDS = ("user", "item")
_EXACT = 2.0**53  # below it every whole number is a float


def parse_record(line: str, kind: str, where: str) -> dict[str, Any]:
    """The object of one line, in JSON or as a Python literal (parsed, never evaluated); DataError with ``where``."""
    try:
        if kind == "json":
            record = json.loads(line, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_named_once)
        else:
            record = ast.literal_eval(line.strip())
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        what = "JSON object" if kind == "json" else "Python literal"
        why = error.msg if isinstance(error, SyntaxError | json.JSONDecodeError) else type(error).__name__
        hint = "; write one object per line, as `jq -c` does" if line.strip() in ("{", "[") else ""
        raise DataError(f"{where}: not a {what} ({why}){hint}") from None
    if not isinstance(record, dict) or not all(isinstance(name, str) for name in record):
        raise DataError(
            f"{where}: not an object with named fields, but a {type(record).__name__}; write one object per line"
        )
    return record


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError(f"the field {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise DataError(f"the number {text[:40]} is too large")
    return number


def _no_constant(name: str) -> None:
    """Accept NaN, which Python writes for a missing number, but no other constant."""
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON number")


def read_records(path: Path, form: Form, roles: Sequence[str]) -> Columns:
    """The columns of some roles; DataError, with file and line, if a line cannot be parsed."""
    roles = [role for role in roles if role in form.roles]
    fast = _by_pyarrow(path, form, roles) if form.kind == "json" else None
    return _plainly(path, form, roles) if fast is None else fast


def _plainly(path: Path, form: Form, roles: Sequence[str]) -> Columns:
    found: dict[str, list[str]] = {role: [] for role in roles}
    numbers = []
    for number, line in lines(path):
        record = parse_record(line, form.kind, f"{path}:{number}")
        numbers.append(number)
        for role in roles:
            value, place = record.get(form.roles[role]), f"{path}:{number}"
            if role in _IDS and isinstance(value, float) and abs(value) >= _EXACT:
                raise DataError(f"{place}: {value!r} is no id: so large a number with a point stands for several")
            found[role].append(_text(value, form.roles[role], place))
    return values_of(found, str(path), numbers)


def _text(value: Any, name: str, where: str) -> str:
    """A field as text, "" for one that is missing; DataError for a list or an object."""
    if value is None:
        return ""
    if isinstance(value, str) and value.isascii():
        return value
    try:
        if isinstance(value, str):
            value.encode()
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
            return str(int(value))  # 3 and 3.0 are the same id
        if isinstance(value, int | float) and not isinstance(value, bool):
            return repr(value)
    except ValueError:
        raise DataError(
            f"{where}: {name!r} holds text that is not valid Unicode, or a number with thousands of digits"
        ) from None
    raise DataError(f"{where}: {name!r} holds a {type(value).__name__}, not a text or number")


def _by_pyarrow(path: Path, form: Form, roles: Sequence[str]) -> Columns | None:
    """As `read_records`, for JSON; None if anything is unusual, so that the plain reader decides."""
    first = parse_record(next(lines(path))[1], "json", str(path))
    kinds = {role: _kind(first.get(form.roles[role])) for role in roles}
    if None in kinds.values() or any(kinds.get(role) == pa.float64() for role in _IDS):
        return None
    account = Account(of_objects=True)
    try:
        table = pa.json.read_json(
            pa.PythonFile(TextStream(path, account), mode="r"),
            pa.json.ReadOptions(block_size=_BLOCK),
            pa.json.ParseOptions(
                explicit_schema=pa.schema([(form.roles[role], kind) for role, kind in kinds.items()]),
                unexpected_field_behavior="ignore",
            ),
        )
        if account.unusual or not table.num_rows == account.lines == account.objects:
            return None
        return from_arrow({role: table.column(form.roles[role]) for role in roles})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _kind(value: Any) -> pa.DataType | None:
    if isinstance(value, str):
        return pa.string()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return pa.int64() if isinstance(value, int) else pa.float64()
