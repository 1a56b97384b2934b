"""`attnrec variants`."""

from __future__ import annotations

import inspect
from typing import Any, Optional

import typer

from attnrec.cli.output import console, plain_table, print_json


def variants(
    name: Optional[str] = typer.Argument(None, help="A variant to describe; all are listed without it."),
    json: bool = typer.Option(False, "--json", help="Print the list as the last line of stdout."),
) -> None:
    """List the attention variants, or describe one."""
    from attnrec.attention import attention_names, find_attention

    names = [name] if name else attention_names()
    found = {variant: find_attention(variant) for variant in names}
    if json:
        print_json({variant: {"options": _options(cls)} for variant, cls in found.items()})
    elif name:
        from rich.markdown import Markdown

        cls = found[name]
        console.print(Markdown(inspect.getdoc(inspect.getmodule(cls)) or ""))
        console.print()
        console.print(inspect.getdoc(cls) or "", markup=False, soft_wrap=True)
    else:
        rows = [
            (variant, (inspect.getdoc(cls) or "").splitlines()[0], _options_text(_options(cls)))
            for variant, cls in found.items()
        ]
        console.print(plain_table(("variant", "what it is", "options"), rows))


def _options(cls: Any) -> dict[str, dict[str, Any]]:
    from attnrec.attention import operator_options

    return {
        key: {"type": getattr(option.annotation, "__name__", str(option.annotation)), "default": option.default}
        for key, option in operator_options(cls).items()
    }


def _options_text(options: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{key}={option['default']}" for key, option in options.items()) or "none"
