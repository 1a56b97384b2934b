"""A component's option given as text, read as a value of the type that the component declares."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from attnrec.core.errors import InputError
from attnrec.core.spec import Spec

_LARGEST = 1e30  # of a number given as an option, which float32 holds


def converted(who: str, key: str, value: str, wanted: Any) -> Any:
    """``value`` as the type ``wanted``: text, a number, a truth value, a `Literal`, a `Spec`, or None or one of them.

    Raises InputError, naming ``who`` and ``key``, where it is not one.
    """
    if get_origin(wanted) is Literal:
        choices = {str(choice): choice for choice in get_args(wanted)}
        if value not in choices:
            raise InputError(f"{who}: {key}={value} is not one of {', '.join(choices)}")
        return choices[value]
    if get_origin(wanted) in (Union, UnionType) and NoneType in get_args(wanted):
        others = [other for other in get_args(wanted) if other is not NoneType]
        return None if value.lower() == "none" else converted(who, key, value, others[0])
    if wanted is bool:
        if value.lower() not in ("true", "false"):
            raise InputError(f"{who}: option {key}={value!r} is not true or false")
        return value.lower() == "true"
    if wanted in (int, float):
        return _number(who, key, value, wanted)
    return _named(who, key, value) if wanted is Spec else value


def _named(who: str, key: str, value: str) -> Spec:
    """A component inside another one; it must have a name, as runs keep the sources of outer ones only."""
    spec = Spec.parse(value)
    if spec.is_source:
        raise InputError(f"{who}: {key}={value} must be a name, not a file or module: nothing would keep its source")
    return spec


def _number(who: str, key: str, value: str, wanted: type[int] | type[float]) -> int | float:
    kind = "a whole number" if wanted is int else "a number"
    try:
        number = wanted(value)
    except ValueError:
        raise InputError(f"{who}: option {key}={value[:50]!r} is not {kind}") from None
    if not -_LARGEST <= number <= _LARGEST:  # NaN is not between them either
        raise InputError(f"{who}: option {key}={value[:50]!r} is not {kind} of at most {_LARGEST:g}")
    return number
