"""The result of a comparison as tables, for the terminal and for Markdown; variants are rows.

Columns are in order of importance, because a narrow terminal leaves out the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.experiments.result import (
    ComparisonFindings,
    Differences,
    OverSeeds,
    RunFigures,
    StatedDifference,
    VariantResult,
)
from attnrec.experiments.variants import NAMING, in_words

_Trained = Sequence[tuple[VariantResult, RunFigures]]


@dataclass(frozen=True)
class ReportTable:
    """A table as strings, for the terminal and for Markdown; the columns from ``numbers_from`` on hold numbers."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    numbers_from: int = 1


def tables(result: ComparisonFindings) -> list[ReportTable]:
    """The result as tables: a ranking, what the variants are, metrics, differences, cost and gradient norms."""
    done = result.trained()
    if not done:
        return []
    found = [_ranking(result, done)]
    if any(_named(entry) != entry.attention or in_words(entry.options) for entry, _ in done):
        found.append(_variants_table(result, done))
    found += [_metrics_table(result, done, protocol) for protocol in PROTOCOLS]
    if result.differences():
        found += [_words_table(result), *(_differences_table(result, protocol) for protocol in PROTOCOLS)]
    return [*found, _cost_table(result, done), _gradients_table(done)]


def problems(result: ComparisonFindings) -> list[str]:
    """Lines about runs without a result: for each variant, why its runs failed and which are missing."""
    lines = []
    for entry in result.variants:
        reasons: dict[str, list[str]] = {}
        for run in entry.failed:
            reasons.setdefault(run.message, []).append(str(run.seed))
        for message, seeds in reasons.items():
            lines.append(f"{entry.attention}, seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} failed: {message}")
        lines += [f"{entry.attention}, seed {seed}: not finished" for seed in entry.missing]
    return lines


def to_markdown(comparison: Comparison, result: ComparisonFindings) -> str:
    """The whole result as a Markdown page."""
    config = comparison.config
    model, training = config.model, config.training
    parts = [
        f"# {', '.join(entry.attention for entry in result.variants)}\n",
        f"`{config.data.dataset}`, loss `{training.loss}`, n = {model.max_len}, d = {model.dim}, "
        f"{model.blocks} blocks, {model.heads} head{'s' * (model.heads > 1)}, batch {training.batch_size}, "
        f"at most {training.epochs} epochs; "
        f"seeds {', '.join(map(str, comparison.seeds))}. Test metrics over all users at the epoch that validation "
        f"({PROTOCOLS[config.evaluation.select]}) chose; ± is the standard deviation over seeds.\n",
        *(f"- {' '.join(line.split())}" for line in problems(result)),
        *(f"- Warning: {line}" for line in result.warnings),
    ]
    for table in tables(result):
        parts += [f"\n## {table.title}\n", _markdown_row(table.headers), _markdown_row(["---"] * len(table.headers))]
        parts += [_markdown_row(row) for row in table.rows]
        parts += [f"\n{table.note}"] if table.note else []
    return "\n".join(parts) + "\n"


def _ranking(result: ComparisonFindings, done: _Trained) -> ReportTable:
    """One row per variant, the best first; with the number of seeds if it differs between variants."""
    metric, first = result.metric, result.variants[0]
    seeds_differ = len({len(entry.seeds) for entry, _ in done}) > 1
    rows = []
    for entry, figures in sorted(done, key=lambda one: -one[1].test["full"][metric].mean):
        value, found = figures.test["full"][metric], entry.difference.get("full")
        spread = "-" if value.sd is None else f"{value.sd:.4f}"
        difference, word = "-", "-"
        if found is not None:
            difference = f"{found.mean:+.4f}"
            word = {"not tested": "-", "no difference shown": "no"}.get(found.verdict, found.verdict)
        seeds = (str(len(entry.seeds)),) if seeds_differ else ()
        rows.append((entry.attention, f"{value.mean:.4f}", spread, difference, word, *seeds))
    headers = ("variant", metric, "±", "against first", "shown", *(("seeds",) if seeds_differ else ()))
    note = f"First: {first.attention}. Shown: whether the difference is more than chance; details below."
    return ReportTable(f"Ranking by {metric}, {PROTOCOLS['full']}", headers, tuple(rows), note)


def _variants_table(result: ComparisonFindings, done: _Trained) -> ReportTable:
    """What each variant is, and its own options."""
    rows = []
    for entry, _ in done:
        own = in_words(entry.options)
        rows.append((entry.attention, _named(entry) + (f" | {own}" if own else "")))
    note = "".join(f"{line}. " for line in result.differing).strip()
    return ReportTable("Variants", ("variant", "with its own options"), tuple(rows), note, numbers_from=2)


def _named(entry: VariantResult) -> str:
    """The attention or model of a variant."""
    return " + ".join(entry.options[name] for name in NAMING if name in entry.options)


def _metrics_table(result: ComparisonFindings, done: _Trained, protocol: str) -> ReportTable:
    headline = result.metric
    first = (headline, headline.replace("NDCG", "Hit"), "MRR")
    names = sorted(done[0][1].test[protocol], key=lambda name: (*first, name).index(name))
    rows = [(entry.attention, *(_spread(figures.test[protocol][name], 4) for name in names)) for entry, figures in done]
    return ReportTable(f"Test, {PROTOCOLS[protocol]}", ("variant", *names), tuple(rows))


def _words_table(result: ComparisonFindings) -> ReportTable:
    rows = []
    for variant, of in result.differences().items():
        protocols: dict[str, list[str]] = {}  # by their description in words
        for protocol, found in of.items():
            protocols.setdefault(_in_words(found), []).append(protocol)
        rows += [(variant, ", ".join(names), words) for words, names in protocols.items()]
    title = f"Does {result.metric} differ from that of {result.variants[0].attention}?"
    note = ""
    if any(found.more_seeds for found in _all(result.differences())):
        note = (
            "Adding seeds because of these results gives luck a second chance. To be sure, start a new comparison with "
            "that many seeds, all of them new."
        )
    return ReportTable(title, ("variant", "ranking", "in words"), tuple(rows), note, numbers_from=3)


def _all(differences: Differences) -> list[StatedDifference]:
    return [found for of in differences.values() for found in of.values()]


def _in_words(found: StatedDifference) -> str:
    words = [found.advice] if found.p_holm is None else [found.verdict, found.advice]
    return "; ".join(filter(None, words))


def _differences_table(result: ComparisonFindings, protocol: str) -> ReportTable:
    title = f"{result.metric} against {result.variants[0].attention}, {PROTOCOLS[protocol]}"
    together = sum(found.p_holm is not None for found in _all(result.differences()))
    rows = []
    for variant, of in result.differences().items():
        found = of[protocol]
        adjusted = "one seed"
        if found.adjusted_low is not None and found.adjusted_high is not None:
            adjusted = _interval(found.adjusted_low, found.adjusted_high)
        rows.append((variant, f"{found.mean:+.4f}", _interval(found.low, found.high), adjusted, _p(found.p_holm)))
    if not together:
        note = (
            "Difference for one seed, with a 95 % interval by paired bootstrap over users. It applies only to these "
            "two trained models: another seed gives two others."
        )
        headers = ("variant", "mean", "over users")
        return ReportTable(f"{title}: these two trained models", headers, tuple(row[:3] for row in rows), note)
    note = "Paired bootstrap over users, and the spread between seeds by Student's t."
    if together > 1:
        note += f" The adjusted interval and p are for the {together} differences shown together (Holm)."
    return ReportTable(title, ("variant", "difference", "95 % unadjusted", "adjusted", "adjusted p"), tuple(rows), note)


def _cost_table(result: ComparisonFindings, done: _Trained) -> ReportTable:
    rows = tuple(
        (
            entry.attention,
            f"{figures.parameters:,}",
            f"{figures.seconds_per_epoch:.2f}",
            "-" if entry.seconds_ratio is None else f"{entry.seconds_ratio:.2f}",
            "-" if entry.valid_at_equal_time is None else f"{entry.valid_at_equal_time.mean:.4f}",
            f"{figures.peak_memory_bytes / 1e6:,.0f}",
            _range(figures.best_epoch),
        )
        for entry, figures in done
    )
    first, metric, equal = result.variants[0].attention, result.metric, result.equal_time
    headers = ("variant", "parameters", "s an epoch", "ratio", f"{metric} at equal time", "memory, MB", "best epoch")
    note = f"Ratio: time of an epoch relative to {first}. "
    if equal:
        note += (
            f"At equal time: the best validation score ({PROTOCOLS[result.selected_by]}) within the "
            f"{_seconds(equal.seconds)} of training that {equal.fastest}, the fastest, took in total. "
        )
        if any(entry.valid_at_equal_time is None for entry, _ in done):
            note += "-: not validated by then; validate more often to see more. "
    return ReportTable("Cost", headers, rows, note + "Memory: peak.")


def _gradients_table(done: _Trained) -> ReportTable:
    rows = tuple(
        (
            entry.attention,
            *(_spread(norm, 3) for norm in (norms.mean, norms.max, norms.trend, norms.mean_of_last_batch_of_epoch)),
        )
        for entry, norms in ((entry, figures.grad_norm) for entry, figures in done)
    )
    headers = ("variant", "mean", "max", "trend", "last batches")
    note = (
        "Norm of all gradients together at every step, before clipping. Trend: mean over the last fifth of the epochs "
        "divided by that over the first. Last batches: mean over only the last batch of each epoch, which some papers "
        "report."
    )
    return ReportTable("Global gradient norm", headers, rows, note)


def _spread(value: OverSeeds, digits: int) -> str:
    deviation = "" if value.sd is None else f" ± {value.sd:.{digits}f}"
    return f"{value.mean:.{digits}f}{deviation}"


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
