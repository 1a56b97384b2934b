"""Trains the rows of `accuracy.toml` with all their seeds, keeps a JSON file of each run, and prints a table.

    python benchmarks/accuracy.py run --data DIR [--only beauty-ce] [--seeds 2] [--out runs/accuracy]
    python benchmarks/accuracy.py table [--short]

Finished runs are not repeated, and interrupted ones are resumed. `accuracy.toml` names the data files.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import tomllib
from pathlib import Path
from typing import Any

from attnrec.cli.spelling import flag
from attnrec.core.errors import InputError
from attnrec.core.files import write_atomically
from attnrec.training.config import TrainConfig
from attnrec.training.run_directory import RunDirectory

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "accuracy"
_KEPT = (
    "attention",
    "dataset",
    "data_fingerprint",
    "epochs",
    "best_epoch",
    "stopped_early",
    "seconds_per_epoch",
    "parameters",
    "valid",
    "test",
    "torch",
)


def rows() -> dict[str, dict[str, Any]]:
    """The rows by name: the data file, the options, the number of seeds, and the public result to compare with."""
    return tomllib.loads((HERE / "accuracy.toml").read_text(encoding="utf-8"))


def command(row: dict[str, Any], seed: int) -> str:
    """The command that trains one run of a row."""
    words = ["attnrec", "train", "--dataset", row["data"]]
    for name, value in (row["options"] | {"seed": seed}).items():
        if isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        else:
            words += [flag(name), ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join(words)


def result_file(name: str, seed: int) -> Path:
    return RESULTS / name / f"seed-{seed}.json"


def train_row(name: str, row: dict[str, Any], seed: int, data: Path, out: Path) -> None:
    """Train or resume one run, and keep its result; a run stopped by hand gives none."""
    from attnrec.api import Printer, train

    run = RunDirectory(out / name / f"seed-{seed}")
    config = TrainConfig.from_mapping(
        row["options"] | {"seed": seed, "dataset": str(data / row["data"]), "split": "leave-one-out"}
    )
    if run.is_run() and run.config().changed(dataset=config.data.dataset) != config:
        raise InputError(f"{run} was trained with other options than {name} has now; choose another --out")
    if not run.finished():
        print(command(row, seed), flush=True)
        if run.is_run():
            train(out=run.path, resume=True, observer=Printer())
        else:
            train(config, run.path, observer=Printer())
    run = RunDirectory(run.path)  # read it again after the training
    if not run.finished():
        raise KeyboardInterrupt
    keep(name, row, seed, run)


def keep(name: str, row: dict[str, Any], seed: int, run: RunDirectory) -> None:
    """Write the record of a finished run: its options, its result and its validation by epoch."""
    summary = dict(run.result())
    config = {key: value for key, value in run.config().to_mapping().items() if key != "dataset"}
    curve = [
        {
            "epoch": line["epoch"],
            "seconds": round(line["seconds"], 1),
            **{protocol: round(values["NDCG@10"], 5) for protocol, values in line["valid"].items()},
        }
        for line in run.log()
        if "valid" in line
    ]
    content = {"row": name, "seed": seed, "command": command(row, seed), "options": config}
    content |= {key: summary[key] for key in _KEPT} | {"validation": curve}
    file = result_file(name, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())


def results(name: str) -> list[dict[str, Any]]:
    """The kept runs of a row, by seed."""
    files = sorted((RESULTS / name).glob("seed-*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


_SCORES = ("full NDCG@10", "full Hit@10", "sampled NDCG@10", "sampled Hit@10")
_LONG = ("row", "data", "loss", "d", "seeds", *_SCORES, "best epochs", "s an epoch", "public NDCG@10")
_SHORT = ("data", "loss", "d", "seeds", "full NDCG@10", "sampled NDCG@10", "public NDCG@10")


def table(columns: tuple[str, ...] = _LONG) -> str:
    """The rows that have results as a Markdown table; means over seeds, with the standard deviation."""
    lines = [columns, ("---",) * len(columns)]
    for name, row in rows().items():
        runs = results(name)
        if runs:
            cells = _cells(name, row, runs)
            lines.append(tuple(cells[column] for column in columns))
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cells(name: str, row: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, str]:
    """What the table shows of one row, by column."""
    metrics = {
        f"{protocol} {metric}": _spread([run["test"][protocol][metric] for run in runs])
        for protocol in ("full", "sampled")
        for metric in ("NDCG@10", "Hit@10")
    }
    return metrics | {
        "row": f"`{name}`",
        "data": row["data"],
        "loss": f"`{runs[0]['options']['loss']}`",
        "d": str(runs[0]["options"]["dim"]),
        "seeds": str(len(runs)) if len(runs) >= row["seeds"] else f"{len(runs)} of {row['seeds']}",
        "best epochs": ", ".join(str(run["best_epoch"]) for run in runs),
        "s an epoch": f"{statistics.median(run['seconds_per_epoch'] for run in runs):.1f}",
        "public NDCG@10": row["public"],
    }


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="train what is not yet finished")
    running.add_argument("--data", type=Path, required=True, help="folder of the data files")
    running.add_argument("--only", action="append", choices=rows(), help="a row; may be repeated")
    running.add_argument("--seeds", type=int, help="number of seeds for every row, instead of the row's own")
    running.add_argument("--out", type=Path, default=Path("runs/accuracy"), help="folder of the run directories")
    commands.add_parser("table", help="print the table").add_argument("--short", action="store_true")
    given = parser.parse_args()
    if given.command == "table":
        print(table(_SHORT if given.short else _LONG), end="")
        return
    for name in given.only or rows():
        for seed in range(given.seeds or rows()[name]["seeds"]):
            if not result_file(name, seed).exists():
                train_row(name, rows()[name], seed, given.data, given.out)


if __name__ == "__main__":
    main()
