"""`attnrec train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import typer

from attnrec.cli.options import configured, given_options, with_config_options
from attnrec.cli.output import console, metrics_table, print_json, show_warnings
from attnrec.cli.split_lines import of_targets, shown_cutoff
from attnrec.errors import InputError


@with_config_options()
def train(
    *,
    out: Optional[Path] = typer.Option(
        None, help="Run directory, new or empty.", show_default="runs/DATASET-ATTENTION-TIME", rich_help_panel="Run"
    ),
    resume: bool = typer.Option(False, "--resume", help="Continue the run in --out.", rich_help_panel="Run"),
    config: Optional[Path] = typer.Option(
        None, help="TOML file of options; those on the command line win.", rich_help_panel="Run"
    ),
    json: bool = typer.Option(
        False, "--json", help="Print the summary as the last line of stdout.", rich_help_panel="Run"
    ),
    **given: Any,
) -> None:
    """Train a model, show how it does, and leave a run directory."""
    options = given_options(given)
    if resume and out is None:
        raise InputError("--resume needs the run directory: --out DIR")
    if resume and config is not None:
        raise InputError("--resume takes its options from the run, so --config cannot be given")
    settings = None if resume else configured(config, options)
    from attnrec.api import train as run_training
    from attnrec.cli.progress import TrainingDisplay

    with TrainingDisplay() as display:
        if settings is None:
            summary = run_training(out=out, resume=True, observer=display, **options)
        else:
            summary = run_training(settings, out, observer=display)
    _report(summary)
    if json:
        print_json(summary)
    if summary["interrupted"]:
        raise typer.Exit(130)


def _report(summary: dict[str, Any]) -> None:
    from attnrec.experiments.warnings import run_warnings
    from attnrec.training.run_directory import RunDirectory

    if summary["interrupted"]:
        heading = f"interrupted in epoch {summary['epochs']}; test of epoch {summary['best_epoch']}, as far as it came:"
    else:
        heading = f"test at epoch {summary['best_epoch']} of {summary['epochs']}, the best on validation:"
    console.print(heading, style="bold")
    test = summary["test"]
    console.print(metrics_table({"full ranking": test["full"], "sampled-100": test["sampled"]}))
    for line in of_targets(summary, shown_cutoff(test["full"])):
        console.print(line, soft_wrap=True)
    if summary["best_possible_ndcg10"] is not None:
        console.print(
            f"best achievable full-ranking NDCG@10 on this data: {summary['best_possible_ndcg10']:.4f} (in expectation)"
        )
    norm = summary["grad_norm"]
    console.print(
        f"gradient norm: mean {norm['mean']:.3f}, max {norm['max']:.3f}, last {norm['last']:.3f}; "
        + (f"{summary['seconds_per_epoch']:.2f} s an epoch; " if summary["seconds_per_epoch"] else "")
        + f"{summary['parameters']:,} parameters"
    )
    show_warnings(run_warnings(RunDirectory(summary["run"])))
    console.print(f"run directory: {summary['run']}", soft_wrap=True)
