"""`attnrec data`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import typer

from attnrec.cli.get import get
from attnrec.cli.help import Command, Group
from attnrec.cli.options import options_of, options_of_file, trust_code_option, with_options_of
from attnrec.cli.output import console, plain_table, print_json, results, show_reading
from attnrec.core.errors import InputError
from attnrec.data.reading.form import ReadOptions

if TYPE_CHECKING:
    from attnrec.evaluation.significance import Difference
    from attnrec.experiments.shuffle_test import ShuffleTest

_TEST = "Shuffle test"


class _Group(Group):
    """`attnrec data NAME` shows a data set, unless NAME is a subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, "--help"}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


data = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,
    help="Show what is in a data set (`attnrec data NAME|FILE`) or its statistics, or download a public one.",
)
data.command(cls=Command)(get)


@data.command(cls=Command)
@with_options_of(ReadOptions)
def show(
    dataset: str = typer.Argument(
        "synthetic", help="`synthetic`, a downloaded public data set by name, or the path of an interaction file."
    ),
    *,
    shuffle_test: bool = typer.Option(
        False,
        "--shuffle-test",
        help="Train with and without the order of the histories, to see whether order matters.",
        rich_help_panel=_TEST,
    ),
    seeds: Optional[int] = typer.Option(None, help="Seeds.", max=10_000, show_default="1", rich_help_panel=_TEST),
    epochs: Optional[int] = typer.Option(
        None, help="Maximum number of epochs per training.", show_default="about 1,000 steps", rich_help_panel=_TEST
    ),
    config: Optional[Path] = typer.Option(
        None, help="TOML file with other options of `attnrec train`.", rich_help_panel=_TEST
    ),
    trust_code: bool = trust_code_option(),
    json: bool = typer.Option(False, "--json", help="Print the figures as the last line of stdout."),
    **given: Any,
) -> None:
    """Read a data set and show what is in it; with --shuffle-test, test whether order matters in it."""
    for name, value in (("seeds", seeds), ("epochs", epochs), ("config", config)):
        if value is not None and not shuffle_test:
            raise InputError(f"--{name} needs --shuffle-test")
    from attnrec.data.load import load_interactions
    from attnrec.data.statistics import overview

    found = load_interactions(dataset, options_of(ReadOptions, given))
    show_reading(found.reading, results)
    figures = asdict(overview(found))
    rows = [
        (name.replace("_", " "), f"{value:,}" if not isinstance(value, bool) else "yes" if value else "no")
        for name, value in figures.items()
    ]
    results.print(plain_table((found.name, ""), rows, numbers=(1,)))
    result: dict[str, Any] = {"dataset": found.name, **figures}
    if found.reading is not None:
        result["reading"] = asdict(found.reading)
    if shuffle_test:
        tested = _test(dataset, given, 1 if seeds is None else seeds, epochs, config, trust_code)
        _show(tested)
        result["shuffle_test"] = {name: value for name, value in asdict(tested).items() if name != "dataset"}
    if json:
        print_json(result)


@data.command(cls=Command)
@with_options_of(ReadOptions)
def stats(
    dataset: str = typer.Argument(
        "synthetic", help="`synthetic`, a downloaded public data set by name, or the path of an interaction file."
    ),
    *,
    json: bool = typer.Option(False, "--json", help="Print the figures as the last line of stdout."),
    **given: Any,
) -> None:
    """Show the usual statistics of a data set, the lengths of histories, the popularity of items, and ties."""
    from attnrec.data.load import load_interactions
    from attnrec.data.statistics import statistics

    found = load_interactions(dataset, options_of(ReadOptions, given))
    show_reading(found.reading, results)
    figures = statistics(found)
    rows = [
        ("users", f"{figures.users:,}"),
        ("items", f"{figures.items:,}"),
        ("actions", f"{figures.interactions:,}"),
        ("actions per user", f"{figures.mean_length:.1f}"),
        ("actions per item", f"{figures.mean_popularity:.1f}"),
        ("density", f"{figures.density:.3%}"),
    ]
    results.print(plain_table((found.name, ""), rows, numbers=(1,)))
    for title, bins in (("items in a history", figures.lengths), ("interactions of an item", figures.popularity)):
        most = max(count for _, count in bins)
        bars = [(label, f"{count:,}", "█" * round(16 * count / most)) for label, count in bins]
        who = "users" if title.startswith("items") else "items"
        results.print(plain_table((title, who, ""), bars, numbers=(1,)))
    if figures.tied is None:
        results.print("no times: histories are in the order of the file")
    else:
        results.print(
            f"times from {figures.first} to {figures.last}; {figures.tied:,} interactions "
            f"({figures.tied / figures.interactions:.1%}) have the same time as the user's previous one; these are in "
            "the order of the file"
        )
    if json:
        print_json({"dataset": found.name, **asdict(figures)})


def _test(
    dataset: str, given: dict[str, Any], seeds: int, epochs: int | None, config: Path | None, trust_code: bool
) -> ShuffleTest:
    from attnrec.api import shuffle_test
    from attnrec.cli.progress import ShuffleTestDisplay

    options = options_of_file(config, trust_code=trust_code) if config else {}
    if extra := sorted({"seeds", "observer"} & options.keys()):
        raise InputError(f"{config}: unknown option {extra[0]!r}")
    options.pop("dataset", None)  # the one given as an argument counts
    options |= {name: value for name, value in given.items() if value is not None}
    if epochs is not None:
        options["epochs"] = epochs
    try:
        with ShuffleTestDisplay() as display:
            return shuffle_test(dataset, seeds=seeds, observer=display, **options)
    except KeyboardInterrupt:
        console.print("interrupted: a shuffle test cannot be continued, and nothing of it is kept")
        raise typer.Exit(130) from None


def _show(tested: ShuffleTest) -> None:
    """The tables of ``--shuffle-test``."""
    metrics = tuple(next(iter(tested.scores.values())))
    seeds = f"{len(tested.seeds)} seed{'s' * (len(tested.seeds) > 1)}"
    results.print(f"\nShuffle test: test items, full ranking, {tested.users:,} users, {seeds}", style="bold")
    rows = [(_words(name), *(f"{values[metric]:.4f}" for metric in metrics)) for name, values in tested.scores.items()]
    results.print(plain_table(("history", *metrics), rows, numbers=(1, 2)))
    conditions = dict.fromkeys(_words(loss.condition) for loss in tested.losses)
    rows = []
    for metric in metrics:
        own = [loss for loss in tested.losses if loss.metric == metric]
        rows.append((metric, *(_interval(loss.absolute, "{:.4f}") for loss in own)))
        rows.append(
            (f"{metric}, share", *(_interval(loss.relative, "{:.1%}") if loss.relative else "-" for loss in own))
        )
    results.print(plain_table(("lost against in order", *conditions), rows, numbers=(1, 2)))
    results.print("with 95 % intervals over users" + (" and seeds" if len(tested.seeds) > 1 else ""), style="dim")
    results.print(tested.verdict)
    for caution in tested.cautions:
        results.print(caution, style="dim")


def _words(condition: str) -> str:
    return "none, by popularity" if condition == "popularity" else condition.replace("_", " ")


def _interval(found: Difference, form: str) -> str:
    return f"{form.format(found.mean)} [{form.format(found.low)}, {form.format(found.high)}]"
