"""`attnrec variants`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, Optional, get_args, get_origin

import typer
from rich.padding import Padding

from attnrec.cli.output import console, print_json
from attnrec.cli.terminal import escaped, styled

if TYPE_CHECKING:
    from attnrec.attention import AttentionOperator, Variant


def variants(
    name: Optional[str] = typer.Argument(
        None, help="A variant to describe, also FILE.py:CLASS or MODULE:CLASS; all are listed without it."
    ),
    json: bool = typer.Option(False, "--json", help="Print the list as the last line of stdout."),
) -> None:
    """List the attention variants, or describe one."""
    from attnrec.attention import Variant, attention_names, find_attention, parse_attention
    from attnrec.attention import variants as all_variants

    if name is None:
        found = all_variants()
    elif name in attention_names():
        found = [variant for variant in all_variants() if variant.name == name]
    else:
        name = parse_attention(name).name
        cls = find_attention(name)
        found = [Variant(name, inspect.getsourcefile(cls) or cls.__module__, cls)]
    if json:
        print_json({variant.name: _as_json(variant) for variant in found})
        return
    for variant in found:
        _show(variant)
        if name is not None and variant.operator is not None:
            _describe(variant.operator)


def _as_json(variant: Variant) -> dict[str, Any]:
    shared: dict[str, Any] = {"source": variant.source}
    if variant.operator is None:
        return shared | {"error": variant.error}
    cls = variant.operator
    return shared | {
        "summary": _summary(cls),
        "paper": cls.paper,
        "options": _options(cls),
        "weights": cls.has_weights,
        "needs_timestamps": cls.needs_timestamps,
    }


def _show(variant: Variant) -> None:
    """A few lines: name and source, what it is, paper, what it can and needs, options."""
    console.print(styled((variant.name, "bold"), (f"  {variant.source}", "dim")))
    if variant.operator is None:
        lines = [(f"cannot be used: {variant.error}", "red")]
    else:
        cls = variant.operator
        facts = [cls.paper, _abilities(cls), *(f"{key}: {text}" for key, text in _option_texts(cls).items())]
        lines = [(_summary(cls), ""), *((fact, "dim") for fact in facts if fact)]
    for line, style in lines:
        console.print(Padding(line, (0, 0, 0, 2)), style=style)


def _describe(cls: type[AttentionOperator]) -> None:
    from rich.markdown import Markdown

    console.print()
    console.print(Markdown(escaped(inspect.getdoc(inspect.getmodule(cls)) or "")))
    if own := (inspect.getdoc(cls) or "").partition("\n")[2].strip():
        console.print(f"\n{own}", soft_wrap=True)


def _summary(cls: type[AttentionOperator]) -> str:
    # a class without a docstring would inherit that of the interface
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _abilities(cls: type[AttentionOperator]) -> str:
    said = []
    if not cls.has_weights:
        said.append("no matrix of weights to plot")
    if cls.needs_timestamps:
        said.append("needs timestamps")
    return ", ".join(said)


def _options(cls: type[AttentionOperator]) -> dict[str, dict[str, Any]]:
    from attnrec.attention import operator_options, option_type

    return {
        key: {"type": _type_text(option_type(option)), "default": option.default}
        for key, option in operator_options(cls).items()
    }


def _type_text(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return kind.__name__ if inspect.isclass(kind) else str(kind)


def _option_texts(cls: type[AttentionOperator]) -> dict[str, str]:
    return {key: f"{option['type']} = {option['default']}" for key, option in _options(cls).items()}
