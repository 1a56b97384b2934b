"""`attnrec check`."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Optional

import typer
from rich.padding import Padding
from rich.table import Table

from attnrec.cli.output import console, print_json, results, spinner
from attnrec.cli.terminal import styled

if TYPE_CHECKING:
    from attnrec.contract import Report


def check(
    context: typer.Context,
    component: str = typer.Argument(
        help="The variant or model to check, with its options.", metavar="NAME[:option=value,...]", show_default=False
    ),
    heads: int = typer.Option(2, help="Heads of the larger cases.", min=1),
    head_dim: int = typer.Option(8, help="Width of a head in the larger cases.", min=1),
    only: Optional[str] = typer.Option(None, help="Checks to run.", metavar="NAME,NAME,...", show_default="all"),
    device: str = typer.Option("auto", help="Where to compute.", metavar="auto|cpu|cuda"),
    json: bool = typer.Option(False, "--json", help="Print the result as the last line of stdout."),
) -> None:
    """Check that a variant or a model keeps the contract: no leak, right gradients, one result on every path."""
    from attnrec.contract import check as check_component
    from attnrec.core.devices import choose_device

    names = None if only is None else [name for name in only.split(",") if name.strip()]
    with spinner("checking") as show:
        report = check_component(
            component,
            heads=heads,
            head_dim=head_dim,
            device=choose_device(device),
            only=names,
            observe=lambda name: show(f"checking: {name}"),
        )
    _show(report)
    if context.find_root().params.get("debug"):
        for title, result in report.blocks.items():
            if result.error is not None:
                console.print(f"\n{title}:", style="bold")
                console.print("".join(traceback.format_exception(result.error)), soft_wrap=True)
    if json:
        print_json(report.as_json())
    if not report.holds:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    results.print(_table(report))
    for title, result in report.blocks.items():
        results.print(styled((f"{title}: ", "bold"), (result.fault, "")))
        if result.hint:
            results.print(Padding(f"hint: {result.hint}", (0, 0, 0, 2)))
    results.print(report.summary(), style="bold red" if report.failures else "bold green")


_STYLES = {"holds": "green", "fails": "bold red", "not run": "yellow"}


def _table(report: Report) -> Table:
    from attnrec.contract.report import raises

    table = Table(title=f"{report.component} on {report.device}, {report.dtype}", title_justify="left")
    table.add_column("property")
    table.add_column("result", no_wrap=True)
    table.add_column("measured", overflow="fold")
    stop = raises(report.noun)
    stopped = [result for result in report.results if result.figure == stop]
    for result in report.results:
        if result in stopped:
            continue
        word, figure = ("FAILS", "see below") if result.status == "fails" else (result.status, result.figure)
        table.add_row(result.name, styled((word, _STYLES[result.status])), figure)
    if stopped:  # one row for all of them; the error is shown below
        others = f"{len(stopped)} other{'' if len(stopped) == 1 else 's'}"
        table.add_row(others, styled(("not run", _STYLES["not run"])), stop)
    return table
