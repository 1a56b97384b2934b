"""The layout of `--help`: sections of options with full names; a text starts below a long name."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from attnrec.cli.spelling import running, spelled

_WIDEST = 24  # longest option, in characters, with its text on the same line


def _write_options(params: list[Any], ctx: Any, formatter: Any) -> None:
    """A section for each panel, in the order in which they come."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        record = param.get_help_record(ctx)
        if record is not None:
            usual = "Arguments" if param.param_type_name == "argument" else "Options"
            panel = getattr(param, "rich_help_panel", None) or usual
            name, text = record[0], spelled(record[1], ctx)
            sections.setdefault(panel, []).append(_row(name, text, formatter.width))
    for title, rows in sections.items():
        _write_section(title, rows, formatter)


def _write_section(title: str, rows: Sequence[tuple[str, str]], formatter: Any) -> None:
    """Names and their texts. Lines do not break at hyphens, which would split option names."""
    column = min(_WIDEST, max(len(name) for name, _ in rows)) + 4
    with formatter.section(title):
        for name, text in rows:
            first, *others = textwrap.wrap(text, formatter.width - column, break_on_hyphens=False) or [""]
            shown = typer.style(name, bold=True)
            beside = " " * (column - 2 - len(name)) if len(name) + 4 <= column else f"\n{' ' * column}"
            formatter.write(f"  {shown}{beside}{first}".rstrip() + "\n")
            formatter.write("".join(f"{' ' * column}{line}\n" for line in others))


def _row(name: str, text: str, width: int) -> tuple[str, str]:
    """An option and its text; the values it takes move to the text if they do not fit beside the name."""
    text = re.sub(r"default: \((.*)\)(?=[;\]])", r"default: \1", text)  # Typer puts a default in words into parentheses
    if len(name) + 2 > width:
        name, _, takes = name.partition(" ")
        text = f"{takes.replace('|', ' | ')}: {text}"
    return name, text


class Command(TyperCommand):
    """A command with this help; messages while it runs name its options."""

    def invoke(self, ctx: Any) -> Any:
        running(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A command with subcommands and this help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self.get_params(ctx), ctx, formatter)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, (command.help or "").partition("\n")[0]) for name, command in commands if command is not None]
        _write_section("Commands", rows, formatter)
