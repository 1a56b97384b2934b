"""The result of a comparison: figures over seeds, differences against the first variant, tables, Markdown, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrec.evaluation.metrics import Ranks, per_user_metrics
from attnrec.evaluation.significance import Difference, holm, paired_difference
from attnrec.experiments.compare import Comparison
from attnrec.training.run_directory import RunDirectory, write_atomically

JSON_RESULT, MARKDOWN_RESULT = "comparison.json", "comparison.md"
PROTOCOLS = {"full": "full ranking", "sampled": "sampled-100"}


@dataclass(frozen=True)
class ReportTable:
    """A table as strings, for the terminal and for Markdown."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def build_result(comparison: Comparison, failures: dict[tuple[str, int], str] | None = None) -> dict[str, Any]:
    """Everything known of a comparison as plain values; what `comparison.json` holds.

    Runs that are not finished are left out, and named under ``failed`` or ``missing``.

    Raises RunError when a file of a run is corrupt.
    """
    failures = failures or {}
    metric = _headline(comparison)
    variants = []
    for variant in comparison.variants:
        seeds = [seed for seed in comparison.seeds if comparison.finished(variant, seed)]
        entry: dict[str, Any] = {"attention": variant, "seeds": seeds}
        entry["failed"] = [
            {"seed": seed, "message": failures[variant, seed]}
            for seed in comparison.seeds
            if (variant, seed) in failures
        ]
        entry["missing"] = [s for s in comparison.seeds if s not in seeds and (variant, s) not in failures]
        if seeds:
            entry |= _figures([comparison.run(variant, seed) for seed in seeds])
        variants.append(entry)
    for protocol in PROTOCOLS:
        _add_differences(comparison, variants, protocol, metric)
    return {
        "out": str(comparison.path),
        "dataset": comparison.config.dataset,
        "loss": comparison.config.loss,
        "selected_by": comparison.config.select,
        "metric": metric,
        "seeds": list(comparison.seeds),
        "variants": variants,
    }


def write_result(comparison: Comparison, result: dict[str, Any]) -> None:
    """Write `comparison.json` and `comparison.md`."""
    write_atomically(comparison.path / JSON_RESULT, (json.dumps(result, indent=2) + "\n").encode())
    write_atomically(comparison.path / MARKDOWN_RESULT, to_markdown(comparison, result).encode())


def trend(epoch_means: Sequence[float]) -> float:
    """Mean gradient norm over the last fifth of the epochs, divided by that over the first fifth; 1 for one epoch."""
    part = max(1, len(epoch_means) // 5)
    first = float(np.mean(epoch_means[:part]))
    return float(np.mean(epoch_means[-part:])) / first if first else math.nan


def epoch_means(log: list[dict[str, Any]]) -> list[float]:
    """Mean over the steps of each epoch of the global gradient norm, from the lines of `metrics.jsonl`."""
    lines = [line for line in log if "grad_norm" in line]
    epochs = np.array([line["epoch"] for line in lines])
    norms = np.array([line["grad_norm"] for line in lines])
    _, starts = np.unique(epochs, return_index=True)
    return [float(part.mean()) for part in np.split(norms, starts[1:])]


# -- figures over seeds ------------------------------------------------------------------------------------


def _headline(comparison: Comparison) -> str:
    """NDCG@10, or at the largest cut-off there is in a catalogue of fewer than ten items."""
    metrics = [
        name
        for run in comparison.runs()
        if comparison.finished(*run)
        for name in (comparison.run(*run).summary() or {})["test"]["full"]
    ]
    return "NDCG@10" if "NDCG@10" in metrics or not metrics else [m for m in metrics if m.startswith("NDCG@")][-1]


def _figures(runs: Sequence[RunDirectory]) -> dict[str, Any]:
    summaries = [run.summary() or {} for run in runs]
    test = {
        protocol: {
            name: _over_seeds([summary["test"][protocol][name] for summary in summaries])
            for name in summaries[0]["test"][protocol]
        }
        for protocol in PROTOCOLS
    }
    norms = {
        kind: _over_seeds([summary["grad_norm"][kind] for summary in summaries]) for kind in summaries[0]["grad_norm"]
    }
    norms["trend"] = _over_seeds([trend(epoch_means(run.log())) for run in runs])
    norms["mean_of_last_batch_of_epoch"] = _over_seeds(
        [summary["grad_norm_last_batch_of_epoch"]["mean"] for summary in summaries]
    )
    return {
        "parameters": summaries[0]["parameters"],
        "seconds_per_epoch": float(np.median([summary["seconds_per_epoch"] for summary in summaries])),
        "peak_memory_bytes": max(summary["peak_memory_bytes"] for summary in summaries),
        "epochs": [summary["epochs"] for summary in summaries],
        "best_epoch": [summary["best_epoch"] for summary in summaries],
        "test": test,
        "grad_norm": norms,
    }


def _over_seeds(values: Sequence[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": deviation, "values": list(values)}


# -- differences -------------------------------------------------------------------------------------------


def _add_differences(comparison: Comparison, variants: list[dict[str, Any]], protocol: str, metric: str) -> None:
    """Add ``difference`` to all variants but the first, over the seeds that both have finished."""
    first, *others = variants
    found = []
    for entry in others:
        seeds = [seed for seed in entry["seeds"] if seed in first["seeds"]]
        if seeds:
            tables = [
                np.stack([_per_user(comparison.run(name, seed), protocol, metric) for seed in seeds])
                for name in (entry["attention"], first["attention"])
            ]
            found.append((entry, paired_difference(tables[0] - tables[1])))
    adjusted = holm([difference.p_value for _, difference in found])
    for (entry, difference), p_holm in zip(found, adjusted, strict=True):
        values = asdict(difference) | {"p_holm": p_holm, "verdict": _verdict(difference, p_holm)}
        entry.setdefault("difference", {})[protocol] = values


def _per_user(run: RunDirectory, protocol: str, metric: str) -> npt.NDArray[np.float64]:
    result = run.test_ranks()
    ranks: Ranks = getattr(result, protocol)
    return per_user_metrics(ranks, [int(metric.split("@")[1])])[metric].numpy()


def _verdict(difference: Difference, adjusted_p: float) -> str:
    if not difference.shown:
        return "no difference shown"
    direction = "better" if difference.mean > 0 else "worse"
    return direction if adjusted_p < 0.05 else f"{direction}, but not for sure among so many"


# -- tables ------------------------------------------------------------------------------------------------


def tables(comparison: Comparison, result: dict[str, Any]) -> list[ReportTable]:
    """The result as tables: test metrics, differences, training and gradient norms."""
    done = [entry for entry in result["variants"] if entry["seeds"]]
    if not done:
        return []
    found = [_metrics_table(result, done, protocol) for protocol in PROTOCOLS]
    found += [_differences_table(result, done, protocol) for protocol in PROTOCOLS if len(done) > 1]
    return [*found, _training_table(done), _gradients_table(done)]


def problems(result: dict[str, Any]) -> list[str]:
    """A line for each run without a result."""
    lines = []
    for entry in result["variants"]:
        lines += [f"{entry['attention']}, seed {run['seed']} failed: {run['message']}" for run in entry["failed"]]
        lines += [f"{entry['attention']}, seed {seed}: not finished" for seed in entry["missing"]]
    return lines


def to_markdown(comparison: Comparison, result: dict[str, Any]) -> str:
    """The whole result as a Markdown page."""
    config = comparison.config
    parts = [
        f"# {', '.join(comparison.variants)}\n",
        f"`{config.dataset}`, loss `{config.loss}`, n = {config.max_len}, d = {config.dim}, {config.blocks} blocks, "
        f"{config.heads} head{'s' * (config.heads > 1)}, batch {config.batch_size}, at most {config.epochs} epochs; "
        f"seeds {', '.join(map(str, comparison.seeds))}. Test metrics over all users at the epoch that validation "
        f"({PROTOCOLS[config.select]}) chose; ± is the standard deviation over seeds.\n",
        *(f"- {line}" for line in problems(result)),
    ]
    for table in tables(comparison, result):
        parts += [f"\n## {table.title}\n", _markdown_row(table.headers), _markdown_row(["---"] * len(table.headers))]
        parts += [_markdown_row(row) for row in table.rows]
        parts += [f"\n{table.note}"] if table.note else []
    return "\n".join(parts) + "\n"


def _metrics_table(result: dict[str, Any], done: list[dict[str, Any]], protocol: str) -> ReportTable:
    names = list(done[0]["test"][protocol])
    rows = tuple((name, *(_spread(entry["test"][protocol][name], 4) for entry in done)) for name in names)
    return ReportTable(f"Test, {PROTOCOLS[protocol]}", ("metric", *(entry["attention"] for entry in done)), rows)


def _differences_table(result: dict[str, Any], done: list[dict[str, Any]], protocol: str) -> ReportTable:
    metric, first = result["metric"], result["variants"][0]["attention"]
    rows = []
    for entry in done:
        found = entry.get("difference", {}).get(protocol)
        if found:
            interval = f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"
            rows.append((entry["attention"], interval, f"{found['p_holm']:.3g}", found["verdict"]))
    headers = ("variant", "difference [95 % interval]", "p", "in words")
    note = (
        "Paired bootstrap over users, and the spread between seeds by Student's t."
        if len(result["seeds"]) > 1
        else "Paired bootstrap over users of one seed: it says nothing of how much another seed would change."
    )
    if len(rows) > 1:
        note += f" p is adjusted for {len(rows)} comparisons (Holm), the intervals are not."
    return ReportTable(f"{metric} against {first}, {PROTOCOLS[protocol]}", headers, tuple(rows), note)


def _training_table(done: list[dict[str, Any]]) -> ReportTable:
    rows = tuple(
        (
            entry["attention"],
            f"{entry['parameters']:,}",
            f"{entry['seconds_per_epoch']:.2f}",
            f"{entry['peak_memory_bytes'] / 1e6:,.0f}",
            ", ".join(map(str, entry["best_epoch"])),
        )
        for entry in done
    )
    return ReportTable("Training", ("variant", "parameters", "s an epoch", "peak memory, MB", "best epoch"), rows)


def _gradients_table(done: list[dict[str, Any]]) -> ReportTable:
    kinds = ("mean", "max", "trend", "mean_of_last_batch_of_epoch")
    rows = tuple((entry["attention"], *(_spread(entry["grad_norm"][kind], 3) for kind in kinds)) for entry in done)
    headers = ("variant", "mean", "max", "trend", "last batches")
    note = (
        "Norm of all gradients together at every step, before clipping. Trend: mean of the last fifth of the epochs "
        "over that of the first. Last batches: mean over the last batch of each epoch alone, a statistic that some "
        "papers report."
    )
    return ReportTable("Global gradient norm", headers, rows, note)


def _spread(value: dict[str, Any], digits: int) -> str:
    deviation = "" if value["sd"] is None else f" ± {value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{deviation}"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
