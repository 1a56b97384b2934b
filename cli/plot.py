"""`attnrec plot`."""

from __future__ import annotations

from pathlib import Path

import typer

from attnrec.cli.output import console, print_json


def plot(
    run: Path = typer.Argument(help="Run directory that `attnrec train` left."),
    json: bool = typer.Option(False, "--json", help="Print the paths as the last line of stdout."),
) -> None:
    """Draw how a training went: loss, gradient norm, validation NDCG@10."""
    from attnrec.analysis.training_curves import save_figure, training_figure

    paths = save_figure(training_figure(run), run / "figures", "training")
    for path in paths:
        console.print(str(path), soft_wrap=True)
    if json:
        print_json({"figures": [str(path) for path in paths]})
