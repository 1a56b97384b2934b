"""`attnrec train`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Optional

import typer

from attnrec.cli.options import configured, given_options, with_config_options
from attnrec.cli.output import console, metrics_table, print_json
from attnrec.errors import InputError
from attnrec.training.config import TrainConfig, flag

_MAY_CHANGE = {"epochs", "patience", "eval_every", "device"}


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
    if resume:
        settings = _resumed_config(out, config, options)
    else:
        settings = configured(config, options)
    assert out is not None or not resume
    directory = out or Path("runs") / _run_name(settings)
    from attnrec.cli.progress import TrainingDisplay
    from attnrec.training.loop import train as run_training

    with TrainingDisplay() as display:
        summary = run_training(settings, directory, display, resume=resume)
    _report(summary)
    if json:
        print_json(summary)
    if summary["interrupted"]:
        raise typer.Exit(130)


def _resumed_config(out: Path | None, config: Path | None, options: dict[str, Any]) -> TrainConfig:
    """The run's own options, of which a few may change."""
    if out is None:
        raise InputError("--resume needs the run directory: --out DIR")
    if config is not None:
        raise InputError("--resume takes its options from the run, so --config cannot be given")
    from attnrec.training.run_directory import RunDirectory

    before = RunDirectory.open(out).config()
    for name, value in options.items():
        if name not in _MAY_CHANGE and value != getattr(before, name):
            raise InputError(
                f"--resume: the run was started with {flag(name)} {getattr(before, name)}, not {value}; "
                f"only {', '.join(flag(other) for other in sorted(_MAY_CHANGE))} may change"
            )
    if before.schedule != "constant" and options.get("epochs", before.epochs) != before.epochs:
        raise InputError("--resume: --epochs cannot change under a cosine schedule, which depends on it")
    return TrainConfig.from_mapping(before.to_mapping() | options)


def _run_name(settings: TrainConfig) -> str:
    variant = "".join(c if c.isalnum() else "-" for c in settings.attention)
    return f"{Path(settings.dataset).stem}-{variant}-{time.strftime('%Y%m%d-%H%M%S')}"


def _report(summary: dict[str, Any]) -> None:
    if summary["interrupted"]:
        heading = f"interrupted in epoch {summary['epochs']}; test of epoch {summary['best_epoch']}, as far as it came:"
    else:
        heading = f"test at epoch {summary['best_epoch']} of {summary['epochs']}, the best on validation:"
    console.print(heading, style="bold")
    test = summary["test"]
    console.print(metrics_table({"full ranking": test["full"], "sampled-100": test["sampled"]}))
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
    console.print(f"run directory: {summary['run']}", soft_wrap=True)
