"""Converting a component's option from text to the type that the component declares."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from attnrec.core.errors import InputError
from attnrec.core.spec import Spec

_LARGEST = 1e30  # largest number for an option; float32 can hold it


def converted(who: str, key: str, value: str, wanted: Any) -> Any:
    """``value`` as the type ``wanted``: text, a number, a bool, a `Literal`, a `Spec`, or one of these or None.

    Raises InputError, naming ``who`` and ``key``, if it cannot be converted.
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
    """A component inside another one; it must be a registered name, as runs keep only the source of the outer one."""
    spec = Spec.parse(value)
    if spec.is_source:
        raise InputError(f"{who}: {key}={value} must be a name, not a file or module: a run would not keep its source")
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
