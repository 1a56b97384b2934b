"""`attnrec doctor`."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attnrec.cli.output import console, print_json, results, show_warnings
from attnrec.cli.spelling import spelled
from attnrec.doctor import COMPILE_SECONDS

if TYPE_CHECKING:
    from attnrec.doctor import Finding, Report

_STYLES = {"ok": "green", "no": "bold red", "not here": "yellow"}


def doctor(
    run: Optional[Path] = typer.Argument(None, help="A run directory to check; without it, this machine is checked."),
    seconds: float = typer.Option(COMPILE_SECONDS, help="How long to wait for torch.compile.", min=1),
    json: bool = typer.Option(False, "--json", help="Print the findings as the last line of stdout."),
) -> None:
    """Check what works on this machine: versions, devices, kernels, compilers, folders; or whether a run is whole."""
    if run is not None:
        _look_at(run, json)
        return
    from attnrec.doctor import examine

    with console.status("looking") as status:
        report = examine(seconds, lambda name: status.update(f"waiting for {name}"))
    _show(report)
    if json:
        print_json(report.as_json())
    if not report.works:
        raise typer.Exit(1)


def _look_at(run: Path, json: bool) -> None:
    """Show the condition of a run, one line per file."""
    from attnrec.training.condition import condition_of

    found = condition_of(run)
    results.print(f"{run}: {found.state}, {found.step:,} steps" + ("" if found.own else "; not written by you"))
    if found.in_use:
        results.print(f"in use by {found.in_use}")
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, problem in found.files.items():
        status = "no" if problem else "ok"
        table.add_row(Text(status, style=_STYLES[status]), name, problem)
    results.print(table)
    show_warnings(found.notes)
    results.print("the run is whole" if found.whole else "the run is damaged", style="bold")
    if found.advice:
        results.print(spelled(found.advice))
    if json:
        print_json(asdict(found) | {"whole": found.whole})
    if not found.whole:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    widest = max(len(finding.name) for finding in report.findings)
    for group, findings in groupby(report.findings, lambda finding: finding.group):
        results.print(Text(group, style="bold"))
        results.print(Padding(_lines(list(findings), widest), (0, 0, 1, 2)))
    results.print(Text(report.summary(), style="bold green" if report.works else "bold red"))


def _lines(findings: list[Finding], widest: int) -> Table:
    """One line per finding, with advice below it; columns have the same width in every group."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=max(map(len, _STYLES)), no_wrap=True)
    table.add_column(width=widest)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.name, Text(spelled(finding.text)))
        if finding.advice:
            table.add_row("", "", Text(f"-> {spelled(finding.advice)}", style="dim"))
    return table
