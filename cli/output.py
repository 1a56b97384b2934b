"""Where output goes: results to stdout, with one JSON object as the last line; progress and messages to stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from attnrec.cli.spelling import spelled
from attnrec.cli.terminal import UNSAFE, SafeConsole, Surviving, discard, styled
from attnrec.core.errors import RunError
from attnrec.data.reading.form import ROLES

if TYPE_CHECKING:
    from attnrec.data.prepare import Prepared
    from attnrec.data.reading.form import Reading

console = SafeConsole(stderr=True)
"""For progress and messages."""
results = SafeConsole()
"""For results."""


def print_json(value: Mapping[str, Any]) -> None:
    """Print one line on stdout; RunError if it cannot be written."""
    if lost := lost_output():
        raise RunError(lost)
    text = json.dumps(value, ensure_ascii=not (sys.stdout.encoding or "").lower().startswith("utf"))
    try:
        print(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text), flush=True)
    except OSError as error:
        discard(sys.stdout)
        raise RunError(_not_written(error)) from error
    if lost := lost_output():
        raise RunError(lost)


def lost_output() -> str:
    """Why output to stdout was lost, in one line; "" if none was."""
    if sys.stdout is None:
        return "the result cannot be written: stdout is closed"
    if not isinstance(sys.stdout, Surviving):
        return ""
    if sys.stdout.closed_before:
        return "the result cannot be written: stdout is closed"
    return "" if sys.stdout.failure is None else _not_written(sys.stdout.failure)


def _not_written(error: OSError) -> str:
    return f"the result cannot be written to stdout: {error.strerror or error}"


@contextlib.contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with a text; call the result to change the text."""
    with console.status(styled((text, ""))) as status:
        yield lambda new: status.update(styled((new, "")))


def metrics_table(columns: Mapping[str, Mapping[str, float]]) -> Table:
    """One row per metric, one column per evaluation."""
    table = Table()
    table.add_column("metric")
    for name in columns:
        table.add_column(name, justify="right")
    for metric in next(iter(columns.values())):
        table.add_row(metric, *(f"{values[metric]:.4f}" for values in columns.values()))
    return table


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> Table:
    """A table of strings; the columns ``numbers`` are aligned to the right, with headers folded to their width."""
    table = Table()
    for place, header in enumerate(headers):
        if place in numbers:
            width = max(map(len, [*header.split(), *(row[place] for row in rows)]), default=1)
            folded = "\n".join(textwrap.fill(line, width) for line in header.splitlines())
            table.add_column(folded, justify="right", overflow="fold")
        else:
            table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def show_reading(reading: Reading | None, to: SafeConsole = console) -> None:
    """Show how a file was read: its layout, the role of each column, how many lines were kept."""
    if reading is None:
        return
    named = sorted(reading.roles.items(), key=lambda role: (*ROLES, role[0]).index(role[0]))
    roles = ", ".join(f"{role}: {column}" for role, column in named)
    line = f"{Path(reading.source).name}: {reading.form}" + (f"; {roles}" if roles else "")
    dropped = ", ".join(f"{count:,} dropped ({reason})" for reason, count in reading.dropped.items())
    to.print(line)
    to.print(f"{reading.lines:,} interaction{'s' * (reading.lines != 1)} read, {dropped or 'none dropped'}")
    for note in reading.notes:
        to.print(spelled(note), style="dim")


def show_prepared(prepared: Prepared) -> None:
    """Show how raw files were read, and what each filter left."""
    for reading in prepared.readings:
        show_reading(reading, results)
    rows = [(step, *(f"{count:,}" for count in counts)) for step, *counts in prepared.steps]
    results.print(plain_table(("step", "interactions", "users", "items"), rows, numbers=(1, 2, 3)))
    if prepared.part_sizes is not None:
        results.print(", ".join(f"{part}: {count:,}" for part, count in prepared.part_sizes.items()) + " interactions")
    if prepared.overlap:
        show_warnings([f"{prepared.overlap:,} interactions of validation and test are also in training"])
    if prepared.data.item_titles is not None:
        named = sum(bool(title) for title in prepared.data.item_titles)
        results.print(f"{named:,} of {prepared.data.num_items:,} items have a title")


def show_warnings(lines: Sequence[str]) -> None:
    """Show one line per warning."""
    for line in map(spelled, lines):
        console.print(f"warning: {line}", style="yellow", soft_wrap=True)
