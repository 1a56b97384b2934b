"""`attnrec compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import typer

from attnrec.cli.options import configured, given_options, trust_code_option, with_config_options
from attnrec.cli.output import console, plain_table, print_json, show_warnings

if TYPE_CHECKING:
    from attnrec.api import ComparisonResult
    from attnrec.experiments.tables import ReportTable

_LONGEST_OPTION = 14  # characters in a line, so that the widest table has room beside it at 80


@with_config_options(without=("attention", "start_from"))
def compare(
    *,
    attention: list[str] = typer.Option(
        ...,
        help="Attention operator, as for `train`; give it twice or more. Differences are against the first.",
        rich_help_panel="Data",
    ),
    seeds: int = typer.Option(
        3, help="Seeds for each variant, counted up from --seed.", max=10_000, rich_help_panel="Training"
    ),
    jobs: int = typer.Option(
        1, help="Trainings at a time; the cores are shared out among them.", min=1, max=1000, rich_help_panel="Machine"
    ),
    out: Optional[Path] = typer.Option(
        None,
        help="Folder of the comparison; run again, it goes on where it stopped.",
        show_default="runs/compare-DATASET",
        rich_help_panel="Run",
    ),
    config: Optional[Path] = typer.Option(
        None, help="TOML file of options; those on the command line win.", rich_help_panel="Run"
    ),
    trust_code: bool = trust_code_option(),
    json: bool = typer.Option(
        False, "--json", help="Print the result as the last line of stdout.", rich_help_panel="Run"
    ),
    **given: Any,
) -> None:
    """Compare variants over seeds on equal terms: NDCG@N, gradient norms, cost, and what is more than chance."""
    options = given_options(given) | {"attention": attention[0]}  # a variant in the file counts for nothing
    settings = configured(config, options, trust_code=trust_code)
    from attnrec.api import compare as run_comparison
    from attnrec.cli.progress import ComparisonDisplay
    from attnrec.experiments.tables import tables

    with ComparisonDisplay() as display:
        result = run_comparison(
            attention, settings, out, seeds=seeds, jobs=jobs, trust_code=trust_code, observer=display
        )
    for table in tables(result.comparison, result.values):
        _show(table)
    show_warnings(result.values["warnings"])
    for line in result.problems():
        console.print(line, style="bold", soft_wrap=True)
    _draw(result)
    if json:
        print_json(result.values)
    if result.outcome.interrupted:
        console.print("interrupted: the same command goes on where it stopped")
        raise typer.Exit(130)
    if result.outcome.failures:
        raise typer.Exit(1)


def _show(table: ReportTable) -> None:
    """Print one table of a comparison."""
    console.print()
    console.print(table.title, style="bold")
    headers, *rows = (tuple(map(_foldable, row)) for row in (table.headers, *table.rows))
    console.print(plain_table(headers, rows, numbers=range(table.numbers_from, len(headers))))
    if table.note:
        console.print(table.note, style="dim")


def _draw(result: ComparisonResult) -> None:
    from attnrec.analysis.style import save_figure

    comparison = result.comparison
    files = "comparison.md, comparison.json"
    if any(comparison.finished(*run) for run in comparison.runs()):
        files += ", figures/"
        for name, figure in result.figures().items():
            save_figure(figure, comparison.path / "figures", name)
    console.print(f"\nwritten to {comparison.path}: {files}", soft_wrap=True)


def _foldable(cell: str) -> str:
    """A variant's options each on a line of its own where the terminal is narrow; other cells as they are."""
    name, colon, options = cell.partition(":")
    if not (colon and options[:1].isalpha() and console.width < 110):
        return cell
    lines = [f"{name}:", *options.replace(",", ",\n").splitlines()]
    if console.width <= 80:
        lines = [line.replace("=", "=\n") if len(line) > _LONGEST_OPTION else line for line in lines]
    return "\n".join(lines)
