"""Options declared once, as fields of a dataclass that hold their help text and limits.

The command line, `config.toml` and Python all read them from there.
"""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import field
from typing import Any

from attnrec.errors import InputError


def option(default: Any, group: str, text: str, **limits: Any) -> Any:
    """A field with its help text.

    ``limits``: min, max, above (exclusive minimum), below, choices; ``shown`` is what help calls the default; ``like``
    names the option whose value an option takes that is left at None. It takes it once, when the configuration is
    made: in a copy with the other option changed (`dataclasses.replace`) it stays.
    """
    return field(default=default, metadata={"group": group, "help": text, **limits})


def flag(name: str) -> str:
    """The command line's spelling of an option: ``max_len`` is ``--max-len``."""
    return "--" + name.replace("_", "-")


def check(declared: dataclasses.Field[Any], value: Any) -> None:
    """InputError when ``value`` is of another type than the field's default, or outside its limits."""
    limits, usual = declared.metadata, declared.default
    wanted = type(usual)
    if usual is not None and type(value) is not wanted and not (wanted is float and type(value) is int):
        raise InputError(f"{flag(declared.name)} must be of type {wanted.__name__}, not {value!r}")
    if "choices" in limits and value not in limits["choices"]:
        raise InputError(f"{flag(declared.name)} {value!r} is not one of {', '.join(limits['choices'])}")
    for limit, holds, words in (
        ("min", operator.ge, "at least"),
        ("max", operator.le, "at most"),
        ("above", operator.gt, "above"),
        ("below", operator.lt, "below"),
    ):
        if limit in limits and not holds(value, limits[limit]):
            raise InputError(f"{flag(declared.name)} must be {words} {limits[limit]}, not {value}")
