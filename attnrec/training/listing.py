"""Adding the declared options to the docstrings of functions that take them as keyword arguments."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from attnrec.core.options import shown
from attnrec.core.spec import Spec, Specs
from attnrec.training.config import Declared, declared
from attnrec.training.presets import PRESETS

F = TypeVar("F", bound=Callable[..., Any])
_WIDTH = 116  # characters of a line


def listing_options(*, without: Collection[str] = ()) -> Callable[[F], F]:
    """Decorator that adds every option of a training, with its default and meaning, to the docstring."""

    def decorate(function: F) -> F:
        if function.__doc__:  # python -OO removes docstrings
            function.__doc__ += "\n" + textwrap.indent(options_text(without), "    ", bool)
        return function

    return decorate


def options_text(without: Collection[str] = ()) -> str:
    """Every option as ``name = default: meaning``, in the groups of the command line's help."""
    presets = " ".join(f"{name!r}: {preset.text}" for name, preset in PRESETS.items())
    groups = {"Options": _entry("preset", "None", presets)}
    for name, one in declared().items():
        if name not in without:
            lines = groups.setdefault(one.field.metadata["group"], [])
            lines += _entry(name, _default(one), _meaning(one))
    return "\n\n".join("\n".join([f"{group}:", *lines]) for group, lines in groups.items()) + "\n"


def _entry(name: str, default: str, meaning: str) -> list[str]:
    text = f"{name} = {default}: {meaning}"
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="        ", break_long_words=False)


def _default(one: Declared) -> str:
    default = one.field.default
    if default is None:
        return f"as {one.field.metadata['like']}"
    return shown(str(default) if isinstance(default, Spec | Specs) else default)


def _meaning(one: Declared) -> str:
    choices = one.field.metadata.get("choices")
    limits = [
        f"{words} {one.field.metadata[limit]}"
        for limit, words in (("min", "at least"), ("above", "above"), ("below", "below"))
        if limit in one.field.metadata
    ]
    further = [*([f"one of {', '.join(map(repr, choices))}"] if choices else []), *limits]
    return one.field.metadata["help"] + (f" ({', '.join(further)})" if further else "")
