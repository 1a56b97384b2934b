"""Type checks for arguments of the Python API: a wrong type is an InputError with a one-line message.

On the command line the parser checks types; Python would take ``"no"`` for true and True for 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn

from attnrec.core.errors import InputError
from attnrec.core.options import named, shown

_SHOWN = (type(None), bool, Integral, Real, str, bytes)


def truth(**given: object) -> None:
    """Raise InputError, naming the argument, for a value that is neither True nor False."""
    for name, value in given.items():
        if type(value) is not bool:
            refuse(name, "True or False", value)


def whole_number(name: str, value: object, least: int | None = None) -> int:
    """A whole number, numpy's included; InputError for anything else (also for True) and for less than ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        refuse(name, "a whole number", value)
    number = int(value)
    if least is not None and number < least:
        raise InputError(f"{_named(name)} must be at least {least}, not {shown(number)}")
    return number


def number(name: str, value: object) -> float:
    """A number, numpy's included; InputError for anything else, also for True."""
    if isinstance(value, bool) or not isinstance(value, Real):
        refuse(name, "a number", value)
    return float(value)


def text(name: str, value: object) -> str:
    """A string; InputError for anything else."""
    return value if isinstance(value, str) else refuse(name, "a string", value)


def path(name: str, value: object) -> Path:
    """A path given as a string or path-like object; InputError for anything else, and for an empty string."""
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str) or not given or "\0" in given:
        refuse(name, "a path", value)
    return Path(given)


def listed(name: str, value: object, of: str) -> list[Any]:
    """The values of a list, array or similar, in order; InputError for a set, a mapping or a single string."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | Set):
        refuse(name, f"a list of {of}", value, "" if not isinstance(value, Set) else ", which has no order")
    try:
        return list(value)
    except TypeError:  # an array without axes
        refuse(name, f"a list of {of}", value)


def refuse(name: str, wanted: str, value: object, why: str = "") -> NoReturn:
    """Raise InputError for a value of the wrong kind; a plain value is shown, any other object named by its type."""
    kind = type(value).__name__
    what = f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}{why}"
    if isinstance(value, type):
        what = f"the class {value.__name__}"
    elif isinstance(value, _SHOWN):
        what = shown(value)
    raise InputError(f"{_named(name)} must be {wanted}, not {what}")


def _named(name: str) -> str:
    return named(name) if name.isidentifier() else name  # "a timestamp" is a part of one
