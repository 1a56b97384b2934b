"""`attnrec compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import typer

from attnrec.cli.fitting import fitted
from attnrec.cli.help import Command
from attnrec.cli.options import configured, given_options, overwrite_option, trust_code_option, with_config_options
from attnrec.cli.output import console, print_json, results, show_warnings
from attnrec.cli.spelling import spelled
from attnrec.core.errors import InputError

if TYPE_CHECKING:
    from attnrec.core.spec import Spec
    from attnrec.experiments.tables import ReportTable
    from attnrec.experiments.variants import Variant
    from attnrec.results import ComparisonResult

_ORDER = "attnrec.variants"  # key in a context for the options that name variants, in the order given


class InOrder(Command):
    """`attnrec compare`, which keeps variants in the order given, even if --attention and --model are mixed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        names = (word.partition("=")[0] for word in args)
        ctx.meta[_ORDER] = [name.removeprefix("--") for name in names if name in ("--attention", "--model")]
        return super().parse_args(ctx, args)


@with_config_options(without=("attention", "model", "start_from"))
def compare(
    context: typer.Context,
    *,
    attention: Optional[list[str]] = typer.Option(
        None,
        help="Attention operator or mixer to compare, as for `train`; give it several times. Differences are against "
        "the first variant. After a bar: options for this variant, as 'rotary | --no-position --lr 5e-4 --label rope'.",
        metavar="NAME[:option=value,...][ | OPTIONS]",
        show_default=False,
        rich_help_panel="Variants",
    ),
    model: Optional[list[str]] = typer.Option(
        None,
        help="Model to compare, in the same way.",
        metavar="NAME[:option=value,...][ | OPTIONS]",
        show_default=False,
        rich_help_panel="Variants",
    ),
    seeds: int = typer.Option(
        3, help="Seeds for each variant, counted up from --seed.", max=10_000, rich_help_panel="Training"
    ),
    jobs: int = typer.Option(
        1, help="Trainings to run at a time; they share the cores.", min=1, max=1000, rich_help_panel="Machine"
    ),
    out: Optional[Path] = typer.Option(
        None,
        help="Folder for the comparison; the same command run again continues it.",
        show_default="runs/compare-DATASET",
        rich_help_panel="Run",
    ),
    overwrite: bool = overwrite_option("comparison"),
    config: Optional[Path] = typer.Option(
        None, help="TOML file with options; those on the command line win.", rich_help_panel="Run"
    ),
    trust_code: bool = trust_code_option(),
    check: bool = typer.Option(
        True,
        "--check/--no-check",
        help="First check variants that are not built in with a few of the checks of `attnrec check`.",
        show_default="yes",
        rich_help_panel="Run",
    ),
    json: bool = typer.Option(
        False, "--json", help="Print the result as the last line of stdout.", rich_help_panel="Run"
    ),
    **given: Any,
) -> None:
    """Compare variants over seeds on equal terms: NDCG@N, gradient norms, cost, and what is more than chance."""
    variants = _variants({"attention": attention or [], "model": model or []}, context.meta[_ORDER])
    options = given_options(given) | {"attention": "sdpa"}  # ignore an attention variant in the file
    settings = configured(config, options, trust_code=trust_code)
    if len(variants) < 2:
        raise InputError("a comparison needs at least two variants: give --attention or --model twice or more")
    from attnrec.api import compare as run_comparison
    from attnrec.cli.progress import ComparisonDisplay
    from attnrec.experiments.tables import tables

    if check:
        _check(variants)
    with ComparisonDisplay() as display:
        result = run_comparison(
            variants,
            settings,
            out,
            seeds=seeds,
            jobs=jobs,
            overwrite=overwrite,
            trust_code=trust_code,
            observer=display,
        )
    for table in tables(result.found):
        _show(table)
    show_warnings(result.found.warnings)
    for line in result.problems():
        problem, newline, place = line.partition("\n")  # the lines below it come from the user's own code
        console.print(spelled(problem) + newline + place, style="bold", soft_wrap=True)
    _draw(result)
    if json:
        print_json(result.values)
    if result.outcome.interrupted:
        again = "the same command without --overwrite" if overwrite else "the same command"
        console.print(f"interrupted: run {again} to continue")
        raise typer.Exit(130)
    if result.outcome.failures or any(variant.missing for variant in result.found.variants):
        raise typer.Exit(1)


def _variants(given: dict[str, list[str]], order: list[str]) -> list[Variant]:
    """The variants in the order given; ``order`` lists the options that named them."""
    from attnrec.cli.variant_text import parse_variant

    waiting = {option: list(texts) for option, texts in given.items()}
    found = [parse_variant(option, waiting[option].pop(0)) for option in order if waiting[option]]
    return found + [parse_variant(option, text) for option, texts in waiting.items() for text in texts]


def _check(variants: list[Variant]) -> None:
    """Warn about each variant that is not built in and fails a quick check of the contract; only warn."""
    from attnrec.contract.quick import quick_failures
    from attnrec.core.spec import Specs

    def named(option: str) -> list[Spec]:
        texts = [str(variant.options[option]) for variant in variants if option in variant.options]
        return [spec for text in texts for spec in Specs.parse(text).parts]

    for spec, report in quick_failures(named("attention"), named("model")):
        show_warnings([f"{report.summary()}; `attnrec check {spec}` says more"])


def _show(table: ReportTable) -> None:
    """Print one table of a comparison, as many of its columns as fit."""
    rows = [(row[0], *map(spelled, row[1:])) for row in table.rows]  # labels are the user's text: show them unchanged
    shown, left_out = fitted(table.headers, rows, table.numbers_from, results.width)
    results.print()
    results.print(table.title, style="bold")
    results.print(shown)
    if left_out:
        results.print(f"Also in comparison.md: {', '.join(left_out)}.", style="dim")
    if table.note:
        results.print(table.note, style="dim")


def _draw(result: ComparisonResult) -> None:
    from attnrec.analysis.style import save_figure

    comparison = result.comparison
    files = "comparison.md, comparison.json"
    if any(comparison.finished(*run) for run in comparison.runs()):
        files += ", figures/"
        for name, figure in result.figures().items():
            save_figure(figure, comparison.path / "figures", name)
    console.print(f"\nwritten to {comparison.path}: {files}", soft_wrap=True)
