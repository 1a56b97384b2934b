"""`attnrec evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import typer
from rich.table import Table

from attnrec.cli.options import config_option, parse_cutoffs, trust_code_option
from attnrec.cli.output import metrics_table, plain_table, print_json, results
from attnrec.cli.split_lines import of_left_out, of_split, of_targets, shown_cutoff

if TYPE_CHECKING:
    from attnrec.evaluation.segments import Segment, SegmentReport


def evaluate(
    run: Path = typer.Argument(help="Run directory of `attnrec train`."),
    part: str = typer.Option("test", help="Held-out part to rank.", metavar="test|valid"),
    cutoffs: str = typer.Option("1,5,10,20", help="Cut-offs N of NDCG@N and Hit@N.", metavar="N,N,..."),
    segments: bool = typer.Option(
        False, "--segments", help="Also show metrics by history length, popularity and time, ties, and top-N lists."
    ),
    dataset: Optional[str] = typer.Option(
        None, help="The data set, if it has moved since the training; with --newer, another data set."
    ),
    newer: bool = typer.Option(
        False, "--newer", help="The data are newer than those of the run: leave out and count unknown items."
    ),
    split: Optional[str] = config_option("split", "--newer: "),
    valid_from: Optional[str] = config_option("valid_from", "--newer, "),
    test_from: Optional[str] = config_option("test_from", "--newer, "),
    device: str = typer.Option("auto", help="Where to compute.", metavar="auto|cpu|cuda"),
    trust_code: bool = trust_code_option(),
    json: bool = typer.Option(False, "--json", help="Print the metrics as the last line of stdout."),
) -> None:
    """Evaluate a run by full ranking and sampled-100, over all users."""
    numbers = parse_cutoffs(cutoffs)
    from attnrec.recommender import load

    recommender = load(run, device, trust_code=trust_code)
    options = {"split": split, "valid_from": valid_from, "test_from": test_from}
    which: dict[str, Any] = {"part": part, "cutoffs": numbers, "dataset": dataset, "newer": newer}
    which |= {name: value for name, value in options.items() if value is not None}
    report = recommender.segments(**which) if segments else None
    metrics: dict[str, Any] = recommender.evaluate(**which) if report is None else dict(report.metrics)
    columns = {"full ranking": metrics["full"], "sampled-100": metrics["sampled"]}
    results.print(f"{run}, {part}:", style="bold")
    about = (*of_split(metrics["split"], part), *of_left_out(metrics["left_out"], part)) if newer else ()
    for line in about:
        results.print(line, soft_wrap=True)
    results.print(metrics_table(columns))
    for line in of_targets(metrics, shown_cutoff(metrics["full"])):
        results.print(line, soft_wrap=True)
    result: dict[str, Any] = {"run": str(run), "part": part, **metrics}
    if report is not None:
        _show(report, shown_cutoff(metrics["full"]))
        result["segments"] = {name: value for name, value in asdict(report).items() if name != "metrics"}
    if json:
        print_json(result)


def _show(report: SegmentReport, cutoff: int) -> None:
    """The tables of ``--segments``, with one cut-off of the metrics."""
    results.print("\nFull ranking, by segment of the users", style="bold")
    for title, header, found in (
        ("by items in the history", "items", report.by_history_length),
        ("by training interactions of the target", "interactions", report.by_target_popularity),
        ("by time since the last interaction, in the data's unit", "time", report.by_time_since_last),
        ("with and without targets that training never saw", "target", report.by_target_in_training),
    ):
        if found:
            results.print(f"{title}:")
            results.print(_segment_table(header, found, cutoff, report.metrics["full"]))
    results.print("\nWhat the top-N lists hold:", style="bold")
    rows = [(f"top {top.cutoff}", f"{top.coverage:.1%}", f"{top.mean_popularity:,.1f}") for top in report.top_lists]
    rows.append(("targets", "", f"{report.target_popularity:,.1f}"))
    rows.append(("catalogue", "", f"{report.catalogue_popularity:,.1f}"))
    results.print(plain_table(("items", "coverage", "mean popularity"), rows, numbers=(1, 2)))
    results.print(
        "coverage: share of the catalogue in some user's list; popularity: training interactions of an item",
        style="dim",
    )
    ties = report.ties
    of_size = f", with {ties.mean_size:,.1f} other candidates on average" if ties.users else ""
    results.print(f"\ntargets tied: {ties.users:,} ({ties.share:.2%} of users){of_size}; rule: {ties.rule}")


def _segment_table(header: str, segments: tuple[Segment, ...], cutoff: int, overall: dict[str, float]) -> Table:
    """One row per segment, and one for all users."""
    metrics = (f"NDCG@{cutoff}", f"Hit@{cutoff}")
    parts = [(part.label, part.users, part.share, part.metrics) for part in segments]
    parts.append(("all", sum(part.users for part in segments), 1.0, overall))
    rows = [
        (label, f"{users:,}", f"{share:.1%}", *(f"{values[name]:.4f}" for name in metrics))
        for label, users, share, values in parts
    ]
    return plain_table((header, "users", "share", *metrics), rows, numbers=range(1, 5))
