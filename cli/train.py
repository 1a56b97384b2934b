"""`attnrec train`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Optional

import typer

from attnrec.cli.options import configured, given_options, overwrite_option, trust_code_option, with_config_options
from attnrec.cli.output import console, metrics_table, plain_table, print_json, results, show_warnings
from attnrec.cli.split_lines import of_targets, shown_cutoff
from attnrec.cli.terminal import one_line
from attnrec.core.errors import InputError


@with_config_options()
def train(
    *,
    out: Optional[Path] = typer.Option(
        None, help="Run directory, new or empty.", show_default="runs/DATASET-ATTENTION-TIME", rich_help_panel="Run"
    ),
    resume: bool = typer.Option(False, "--resume", help="Continue the run in --out.", rich_help_panel="Run"),
    overwrite: bool = overwrite_option("run"),
    replay: Optional[Path] = typer.Option(
        None, help="Repeat the step of a run that was not finite, and show it by layer.", rich_help_panel="Run"
    ),
    trust_code: bool = trust_code_option(),
    config: Optional[Path] = typer.Option(
        None, help="TOML file with options; those on the command line win.", rich_help_panel="Run"
    ),
    json: bool = typer.Option(
        False, "--json", help="Print the summary as the last line of stdout.", rich_help_panel="Run"
    ),
    **given: Any,
) -> None:
    """Train a model, show its test metrics, and write a run directory."""
    options = given_options(given)
    if replay is not None:
        if options or resume or overwrite or out is not None or config is not None:
            raise InputError("--replay takes all options from the run; give no others with it")
        _replay(replay, trust_code, json)
        return
    if resume and out is None:
        raise InputError("--resume needs the run directory: --out DIR")
    if resume and config is not None:
        raise InputError("--resume takes its options from the run, so --config cannot be given")
    settings = None if resume else configured(config, options, trust_code=trust_code)
    from attnrec.api import train as run_training
    from attnrec.cli.progress import TrainingDisplay

    with TrainingDisplay() as display:
        if settings is None:
            summary = run_training(
                out=out, resume=True, overwrite=overwrite, trust_code=trust_code, observer=display, **options
            )
        else:
            summary = run_training(settings, out, overwrite=overwrite, trust_code=trust_code, observer=display)
    _report(summary)
    if json:
        print_json(summary)
    if summary["interrupted"]:
        raise typer.Exit(130)


def _replay(run: Path, trust_code: bool, json: bool) -> None:
    """Show the step that was not finite, layer by layer."""
    from attnrec.training.run import replay

    found = replay(run, trust_code=trust_code)
    results.print(
        f"step {found.step:,} (epoch {found.epoch}), {found.users:,} users: loss {found.loss:g}, "
        f"gradient norm {found.grad_norm:g}"
    )
    results.print(f"not finite first in {found.first}" if found.first else "every value is finite this time")
    headers = ("layer", "largest output", "largest parameter", "largest gradient", "not finite")
    rows = []
    for layer in found.layers:
        columns = {"output": layer.output, "parameters": layer.parameters, "gradients": layer.gradients}
        bad = {what: own for what, own in columns.items() if own is not None and own.not_finite}
        wrong = [
            f"{what}: " + ("all" if own.not_finite == own.elements else f"{own.not_finite:,} of {own.elements:,}")
            for what, own in bad.items()
        ]
        largest = ("-" if own is None or math.isnan(own.largest) else f"{own.largest:.4g}" for own in columns.values())
        rows.append((layer.name, *largest, ", ".join(wrong) or "-"))
    results.print(plain_table(headers, rows, numbers=(1, 2, 3)))
    if json:
        print_json(found.to_mapping())


def _report(summary: dict[str, Any]) -> None:
    from attnrec.experiments.warnings import run_warnings
    from attnrec.training.run_directory import RunDirectory

    if summary["interrupted"]:
        heading = f"interrupted in epoch {summary['epochs']}; test at epoch {summary['best_epoch']}, the best so far:"
    else:
        heading = f"test at epoch {summary['best_epoch']} of {summary['epochs']}, the best on validation:"
    results.print(heading, style="bold")
    test = summary["test"]
    results.print(metrics_table({"full ranking": test["full"], "sampled-100": test["sampled"]}))
    for line in of_targets(summary, shown_cutoff(test["full"])):
        results.print(line, soft_wrap=True)
    if summary["best_possible_ndcg10"] is not None:
        results.print(
            f"best achievable full-ranking NDCG@10 on this data: {summary['best_possible_ndcg10']:.4f} (in expectation)"
        )
    norm = summary["grad_norm"]
    results.print(
        f"gradient norm: mean {norm['mean']:.3f}, max {norm['max']:.3f}, last {norm['last']:.3f}; "
        + (f"{summary['seconds_per_epoch']:.2f} s per epoch; " if summary["seconds_per_epoch"] else "")
        + f"{summary['parameters']:,} parameters"
    )
    if summary["skipped_steps"]:
        show_warnings([f"{summary['skipped_steps']} steps were skipped: their loss or gradient was not finite"])
    show_warnings(run_warnings(RunDirectory(summary["run"])))
    console.print(f"run directory: {one_line(summary['run'])}", soft_wrap=True)
