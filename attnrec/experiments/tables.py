"""The result of a comparison as tables, for the terminal and for Markdown; variants are rows.

Columns stand in the order in which they matter: a narrow terminal leaves out the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.experiments.variants import NAMING, in_words


@dataclass(frozen=True)
class ReportTable:
    """A table as strings, for the terminal and for Markdown; the columns from ``numbers_from`` on hold numbers."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    numbers_from: int = 1


def tables(comparison: Comparison, result: dict[str, Any]) -> list[ReportTable]:
    """The result as tables: a ranking, what the variants are, metrics, differences, cost and gradient norms."""
    done = [entry for entry in result["variants"] if entry["seeds"]]
    if not done:
        return []
    found = [_ranking(result, done)]
    if any(_named(entry) != entry["attention"] or in_words(entry["options"]) for entry in done):
        found.append(_variants_table(result, done))
    found += [_metrics_table(result, done, protocol) for protocol in PROTOCOLS]
    differing = [entry for entry in done if "difference" in entry]
    if differing:
        found.append(_words_table(result, differing))
        found += [_differences_table(result, differing, protocol) for protocol in PROTOCOLS]
    return [*found, _cost_table(result, done), _gradients_table(done)]


def problems(result: dict[str, Any]) -> list[str]:
    """What is to be said of runs without a result: for each variant why its runs failed, and which are missing."""
    lines = []
    for entry in result["variants"]:
        reasons: dict[str, list[str]] = {}
        for run in entry["failed"]:
            reasons.setdefault(run["message"], []).append(str(run["seed"]))
        for message, seeds in reasons.items():
            lines.append(f"{entry['attention']}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} failed: {message}")
        lines += [f"{entry['attention']}, seed {seed}: not finished" for seed in entry["missing"]]
    return lines


def to_markdown(comparison: Comparison, result: dict[str, Any]) -> str:
    """The whole result as a Markdown page."""
    config = comparison.config
    model, training = config.model, config.training
    parts = [
        f"# {', '.join(entry['attention'] for entry in result['variants'])}\n",
        f"`{config.data.dataset}`, loss `{training.loss}`, n = {model.max_len}, d = {model.dim}, "
        f"{model.blocks} blocks, {model.heads} head{'s' * (model.heads > 1)}, batch {training.batch_size}, "
        f"at most {training.epochs} epochs; "
        f"seeds {', '.join(map(str, comparison.seeds))}. Test metrics over all users at the epoch that validation "
        f"({PROTOCOLS[config.evaluation.select]}) chose; ± is the standard deviation over seeds.\n",
        *(f"- {' '.join(line.split())}" for line in problems(result)),
        *(f"- Warning: {line}" for line in result["warnings"]),
    ]
    for table in tables(comparison, result):
        parts += [f"\n## {table.title}\n", _markdown_row(table.headers), _markdown_row(["---"] * len(table.headers))]
        parts += [_markdown_row(row) for row in table.rows]
        parts += [f"\n{table.note}"] if table.note else []
    return "\n".join(parts) + "\n"


def _ranking(result: dict[str, Any], done: list[dict[str, Any]]) -> ReportTable:
    """A line a variant, the best first; with the number of seeds where these differ."""
    metric, first = result["metric"], result["variants"][0]
    seeds_differ = len({len(entry["seeds"]) for entry in done}) > 1
    rows = []
    for entry in sorted(done, key=lambda entry: -entry["test"]["full"][metric]["mean"]):
        value, found = entry["test"]["full"][metric], entry.get("difference", {}).get("full")
        spread = "-" if value["sd"] is None else f"{value['sd']:.4f}"
        difference, word = "-", "-"
        if found is not None:
            difference = f"{found['mean']:+.4f}"
            word = {"not tested": "-", "no difference shown": "no"}.get(found["verdict"], found["verdict"])
        seeds = (str(len(entry["seeds"])),) if seeds_differ else ()
        rows.append((entry["attention"], f"{value['mean']:.4f}", spread, difference, word, *seeds))
    headers = ("variant", metric, "±", "against first", "shown", *(("seeds",) if seeds_differ else ()))
    note = f"First: {first['attention']}. Shown: whether the difference is more than chance; more of it below."
    return ReportTable(f"Ranking by {metric}, {PROTOCOLS['full']}", headers, tuple(rows), note)


def _variants_table(result: dict[str, Any], done: list[dict[str, Any]]) -> ReportTable:
    """What each variant is, and its own options."""
    rows = []
    for entry in done:
        own = in_words(entry["options"])
        rows.append((entry["attention"], _named(entry) + (f" | {own}" if own else "")))
    note = "".join(f"{line}. " for line in result["differing"]).strip()
    return ReportTable("Variants", ("variant", "with its own options"), tuple(rows), note, numbers_from=2)


def _named(entry: dict[str, Any]) -> str:
    """The attention or model of a variant."""
    return " + ".join(entry["options"][name] for name in NAMING if name in entry["options"])


def _metrics_table(result: dict[str, Any], done: list[dict[str, Any]], protocol: str) -> ReportTable:
    headline = result["metric"]
    first = (headline, headline.replace("NDCG", "Hit"), "MRR")
    names = sorted(done[0]["test"][protocol], key=lambda name: (*first, name).index(name))
    rows = [(e["attention"], *(_spread(e["test"][protocol][name], 4) for name in names)) for e in done]
    return ReportTable(f"Test, {PROTOCOLS[protocol]}", ("variant", *names), tuple(rows))


def _words_table(result: dict[str, Any], differing: list[dict[str, Any]]) -> ReportTable:
    rows = []
    for entry in differing:
        protocols: dict[str, list[str]] = {}  # by what is said of them
        for protocol, found in entry["difference"].items():
            protocols.setdefault(_in_words(found), []).append(protocol)
        rows += [(entry["attention"], ", ".join(names), words) for words, names in protocols.items()]
    title = f"Does {result['metric']} differ from that of {result['variants'][0]['attention']}?"
    note = ""
    if any(found["more_seeds"] for entry in differing for found in entry["difference"].values()):
        note = (
            "Seeds added because of what is seen here are a second chance for luck. To be sure, begin a new comparison "
            "with that many seeds, all of them new."
        )
    return ReportTable(title, ("variant", "ranking", "in words"), tuple(rows), note, numbers_from=3)


def _in_words(found: dict[str, Any]) -> str:
    words = [found["advice"]] if found["p_holm"] is None else [found["verdict"], found["advice"]]
    return "; ".join(filter(None, words))


def _differences_table(result: dict[str, Any], differing: list[dict[str, Any]], protocol: str) -> ReportTable:
    title = f"{result['metric']} against {result['variants'][0]['attention']}, {PROTOCOLS[protocol]}"
    together = sum(each["p_holm"] is not None for entry in differing for each in entry["difference"].values())
    rows = []
    for entry in differing:
        found = entry["difference"][protocol]
        interval = _interval(found["low"], found["high"])
        adjusted = "one seed" if found["seeds"] == 1 else _interval(found["adjusted_low"], found["adjusted_high"])
        rows.append((entry["attention"], f"{found['mean']:+.4f}", interval, adjusted, _p(found["p_holm"])))
    if not together:
        note = (
            "Difference of one seed, with a 95 % interval by paired bootstrap over users. It speaks of these two "
            "trained models: another seed would give two others."
        )
        headers = ("variant", "mean", "over users")
        return ReportTable(f"{title}: these two trained models", headers, tuple(row[:3] for row in rows), note)
    note = "Paired bootstrap over users, and the spread between seeds by Student's t."
    if together > 1:
        note += f" The adjusted interval and p are for the {together} differences shown together (Holm)."
    return ReportTable(title, ("variant", "difference", "95 % alone", "adjusted", "adjusted p"), tuple(rows), note)


def _cost_table(result: dict[str, Any], done: list[dict[str, Any]]) -> ReportTable:
    rows = tuple(
        (
            entry["attention"],
            f"{entry['parameters']:,}",
            f"{entry['seconds_per_epoch']:.2f}",
            "-" if entry["seconds_ratio"] is None else f"{entry['seconds_ratio']:.2f}",
            "-" if entry["valid_at_equal_time"] is None else f"{entry['valid_at_equal_time']['mean']:.4f}",
            f"{entry['peak_memory_bytes'] / 1e6:,.0f}",
            _range(entry["best_epoch"]),
        )
        for entry in done
    )
    first, metric, equal = result["variants"][0]["attention"], result["metric"], result["equal_time"]
    headers = ("variant", "parameters", "s an epoch", "ratio", f"{metric} at equal time", "memory, MB", "best epoch")
    note = f"Ratio: of the time of an epoch to that of {first}. "
    if equal:
        note += (
            f"At equal time: the best on validation ({PROTOCOLS[result['selected_by']]}) within the "
            f"{_seconds(equal['seconds'])} of training that {equal['fastest']}, the fastest, took in all. "
        )
    return ReportTable("Cost", headers, rows, note + "Memory: the peak.")


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


def _interval(low: float, high: float) -> str:
    return f"[{low:+.4f}, {high:+.4f}]"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.2g} s"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
