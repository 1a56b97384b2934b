"""Dataclasses as plain values for JSON, and back.

A field becomes a key of the same name. Metadata marks two exceptions: the fields of a ``FLAT`` field take its place
(none of them if it is None), and a ``LEFT_OUT`` mapping gets no key if it is empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

FLAT: Mapping[str, bool] = {"flat": True}
LEFT_OUT: Mapping[str, bool] = {"left out": True}
_WORDS = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}

T = TypeVar("T")


def as_plain(value: object) -> Any:
    """Dataclasses and mappings as dicts, tuples as lists, NaN and infinities as None; anything else unchanged."""
    if is_dataclass(value):
        found: dict[str, Any] = {}
        for own in fields(value):
            inner = getattr(value, own.name)
            if "flat" in own.metadata:
                found |= as_plain(inner) or {}
            elif inner or "left out" not in own.metadata:
                found[own.name] = as_plain(inner)
        return found
    if isinstance(value, Mapping):
        return {name: as_plain(inner) for name, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return [as_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def from_plain(kind: type[T], value: object) -> T:
    """The instance of the dataclass ``kind`` that `as_plain` turned into ``value``; unknown keys are ignored.

    Fields may be other dataclasses, ``Mapping[str, X]``, ``tuple[X, ...]``, numbers, text, a `Literal`, ``X | None``
    or ``Any``. Raises ValueError, with the place, if something is missing or has the wrong type:
    ``variants[1].test.full is not an object``.
    """
    return cast(T, _read(kind, value, ""))


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        (other,) = (one for one in inner if one is not NoneType)
        return None if value is None else _read(other, value, where)
    if origin is Literal:
        return value if value in inner else _refuse(where, f"one of {', '.join(map(str, inner))}")
    if origin is tuple:
        if not isinstance(value, list):
            _refuse(where, "a list")
        return tuple(_read(inner[0], one, f"{where}[{place}]") for place, one in enumerate(value))
    if origin is not None or is_dataclass(kind):
        if not isinstance(value, dict):
            _refuse(where, "an object")
        if is_dataclass(kind):
            return _dataclass(kind, value, where)
        return {name: _read(inner[1], one, _inside(where, name)) for name, one in value.items()}
    if kind is float and value is None:
        return math.nan
    accepted = (int, float) if kind is float else (kind,)
    return kind(value) if type(value) in accepted else _refuse(where, _WORDS[kind])


def _dataclass(kind: Any, value: dict[str, Any], where: str) -> Any:
    types = get_type_hints(kind)
    found = {}
    for own in fields(kind):
        if "flat" in own.metadata:
            (part,) = (one for one in get_args(types[own.name]) if one is not NoneType)
            there = any(inner.name in value for inner in fields(part))
            found[own.name] = _read(part, value, where) if there else None
        elif own.name in value or "left out" in own.metadata:
            found[own.name] = _read(types[own.name], value.get(own.name, {}), _inside(where, own.name))
        else:
            raise ValueError(f"{_inside(where, own.name)} is missing")
    return kind(**found)


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _refuse(where: str, wanted: str) -> NoReturn:
    raise ValueError(f"{where or 'it'} is not {wanted}")
