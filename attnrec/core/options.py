"""Options declared once, as fields of a dataclass that hold their help texts and limits.

The command line, `config.toml` and the Python API all read them from there.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from dataclasses import dataclass, field, fields
from typing import Any

from attnrec.core.errors import InputError
from attnrec.core.spec import Spec, Specs

MOST = 10**9
"""Upper limit of counts, against typing errors; memory is checked separately."""
_LONGEST = 300  # characters of a value in a message


@dataclass(frozen=True)
class Options:
    """Options of one component, each a field made by `option`; InputError where a value is outside its limits."""

    def __post_init__(self) -> None:
        for own in fields(self):
            if "like" in own.metadata and getattr(self, own.name) is None:
                object.__setattr__(self, own.name, getattr(self, own.metadata["like"]))
            check(own, getattr(self, own.name))


def option(default: Any, group: str, text: str, **limits: Any) -> Any:
    """A field with its help text.

    ``limits``: min, max, above (exclusive minimum), below (exclusive maximum), choices; ``shown``: the default as help
    shows it; ``like``: another option, whose value this one takes if it is None. It takes that value once, when the
    configuration is made; `dataclasses.replace` of the other option does not change it.
    """
    return field(default=default, metadata={"group": group, "help": text, **limits})


def named(name: str, *value: object) -> str:
    """An option as messages name it: its keyword in backticks, `max_len`, or with a value, `max_len=50`.

    The command line replaces it by its own spelling when it shows a message (`attnrec.cli.spelling`).
    """
    words = (repr(one if isinstance(one, int | float | tuple | None) else str(one)) for one in value)
    return f"`{'='.join((name, *words))}`"


def shown(value: object) -> str:
    """A value as a message shows it, cut if it is very long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print a whole number with thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def check(declared: dataclasses.Field[Any], value: Any) -> None:
    """InputError when ``value`` is of another type than the field's default, not finite, or outside its limits."""
    limits, usual, name = declared.metadata, declared.default, named(declared.name)
    wanted = type(usual)
    if usual is not None and type(value) is not wanted and not (wanted is float and type(value) is int):
        raise InputError(f"{name} must be of type {wanted.__name__}, not {shown(value)}")
    if isinstance(value, str | Spec | Specs):
        check_text(name, str(value))
    if isinstance(value, tuple):
        for own in value:
            check_text(name, str(own))
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, not {value}")
    if "choices" in limits and value not in limits["choices"]:
        raise InputError(f"{name} {shown(value)} is not one of {', '.join(limits['choices'])}")
    for limit, holds, words in (
        ("min", operator.ge, "at least"),
        ("max", operator.le, "at most"),
        ("above", operator.gt, "above"),
        ("below", operator.lt, "below"),
    ):
        if limit in limits and not holds(value, limits[limit]):
            raise InputError(f"{name} must be {words} {limits[limit]}, not {shown(value)}")


def check_text(name: str, value: str) -> None:
    """InputError for text that UTF-8 cannot encode or that holds a NUL: it may name files, and runs store it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} {shown(value)} is not valid UTF-8; rename the file or folder it names") from None
    if "\0" in value:
        raise InputError(f"{name} {shown(value)} holds a NUL character")
