"""`attnrec evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from attnrec.cli.options import parse_cutoffs
from attnrec.cli.output import console, metrics_table, print_json


def evaluate(
    run: Path = typer.Argument(help="Run directory that `attnrec train` left."),
    part: str = typer.Option("test", help="Held-out part to rank.", metavar="test|valid"),
    cutoffs: str = typer.Option("1,5,10,20", help="Cut-offs N of NDCG@N and Hit@N.", metavar="N,N,..."),
    dataset: Optional[str] = typer.Option(None, help="The data set, where it has moved since the training."),
    device: str = typer.Option("auto", help="Where to compute.", metavar="auto|cpu|cuda"),
    json: bool = typer.Option(False, "--json", help="Print the metrics as the last line of stdout."),
) -> None:
    """Evaluate a run: full ranking and sampled-100, over all users."""
    numbers = parse_cutoffs(cutoffs)
    from attnrec.recommender import load

    metrics = load(run, device).evaluate(part=part, cutoffs=numbers, dataset=dataset)
    columns = {"full ranking": metrics["full"], "sampled-100": metrics["sampled"]}
    console.print(f"{run}, {part}:", style="bold")
    console.print(metrics_table(columns))
    if json:
        print_json({"run": str(run), "part": part, **metrics})
