"""Operators as the command line writes them: ``NAME[:option=value,...]``, joined by ``+`` for several blocks."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from attnrec.attention.discovery import attention_names, find_attention
from attnrec.attention.operator import AttentionOperator
from attnrec.errors import InputError, nearest

_LARGEST = 1e30  # of a number given as an option, which float32 holds


@dataclass(frozen=True)
class OperatorSpec:
    """A variant's name, file or module, and the options given for it."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(
            f"{':' if place == 0 else ','}{key}={value}" for place, (key, value) in enumerate(self.options)
        )


def parse_attention(text: str) -> OperatorSpec:
    """Read ``NAME``, ``FILE.py:CLASS`` or ``MODULE:CLASS``, each with ``:option=value,...`` after it or not.

    Raises InputError where it is not of that form.
    """
    name, colon, rest = text.partition(":")
    first, further, tail = rest.partition(":")
    if first.isidentifier() and name not in attention_names():
        name, colon, rest = f"{name}:{first}", further, tail
    if not name or (colon and not rest):
        raise InputError(f"--attention {text!r} is not of the form NAME[:option=value,...]")
    options = []
    for item in rest.split(",") if rest else []:
        key, equals, value = item.partition("=")
        if not (key and equals and value):
            raise InputError(f"--attention {text!r}: {item!r} is not of the form option=value")
        options.append((key, value))
    if len(dict(options)) < len(options):
        raise InputError(f"--attention {text!r} gives an option twice")
    return OperatorSpec(name, tuple(options))


def parse_blocks(text: str) -> tuple[OperatorSpec, ...]:
    """Read one operator for all blocks, or one for each joined by ``+``; InputError as `parse_attention`."""
    return tuple(parse_attention(part) for part in text.split("+"))


def operator_options(cls: type[AttentionOperator]) -> dict[str, inspect.Parameter]:
    """An operator's own options: the keyword-only arguments of its constructor."""
    parameters = inspect.signature(cls, eval_str=True).parameters
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def resolved_options(spec: OperatorSpec, *, defaults: bool = True) -> dict[str, Any]:
    """The options of ``spec`` as values, filled up with ``defaults`` or not; InputError as `build_attention`."""
    known = operator_options(find_attention(spec.name))
    options: dict[str, Any] = {key: parameter.default for key, parameter in known.items()} if defaults else {}
    for key, value in spec.options:
        if key not in known:
            hint = nearest(key, list(known)) if known else "; it has no options"
            if key in inspect.signature(find_attention(spec.name)).parameters:
                hint = "; to be one it must stand after a * in the constructor"
            raise InputError(f"attention variant {spec.name!r} has no option {key!r}{hint}")
        options[key] = _convert(f"attention variant {spec.name!r}", key, value, option_type(known[key]))
    return options


def option_type(option: inspect.Parameter) -> Any:
    """The annotation of an option; the type of its default where it has none."""
    return type(option.default) if option.annotation is option.empty else option.annotation


def _convert(who: str, key: str, value: str, wanted: Any) -> Any:
    if get_origin(wanted) is Literal:
        choices = {str(choice): choice for choice in get_args(wanted)}
        if value not in choices:
            raise InputError(f"{who}: {key}={value} is not one of {', '.join(choices)}")
        return choices[value]
    if get_origin(wanted) in (Union, UnionType) and NoneType in get_args(wanted):
        others = [other for other in get_args(wanted) if other is not NoneType]
        return None if value.lower() == "none" else _convert(who, key, value, others[0])
    if wanted is bool:
        if value.lower() not in ("true", "false"):
            raise InputError(f"{who}: option {key}={value!r} is not true or false")
        return value.lower() == "true"
    if wanted in (int, float):
        kind = "a whole number" if wanted is int else "a number"
        try:
            number = wanted(value)
        except ValueError:
            raise InputError(f"{who}: option {key}={value[:50]!r} is not {kind}") from None
        if not -_LARGEST <= number <= _LARGEST:  # NaN is not between them either
            raise InputError(f"{who}: option {key}={value[:50]!r} is not {kind} of at most {_LARGEST:g}")
        return number
    return value


def build_attention(
    spec: OperatorSpec, num_heads: int, head_dim: int, max_len: int, dropout: float
) -> AttentionOperator:
    """Construct the operator that ``spec`` names.

    Raises InputError for an unknown operator or option, a value of the wrong type, or one that the operator refuses.
    """
    cls, options = find_attention(spec.name), resolved_options(spec, defaults=False)
    try:
        return cls(num_heads, head_dim, max_len, dropout, **options)
    except ValueError as error:
        raise InputError(f"--attention {spec}: {error}") from error
    except Exception as error:
        hint = ""
        if isinstance(error, TypeError):
            hint = "; it is called with (num_heads, head_dim, max_len, dropout) and its options by keyword"
        if "before Module.__init__" in str(error):
            hint = "; its __init__ must begin with super().__init__(num_heads, head_dim, max_len, dropout)"
        raise InputError(
            f"--attention {spec}: {cls.__name__} cannot be constructed: {type(error).__name__}: {error}{hint}"
        ) from error
