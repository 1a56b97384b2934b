"""The result of a comparison: figures that can be checked by hand, files, tables, drawings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from attnrec.analysis.comparison_figures import comparison_figures
from attnrec.cli.compare import _show
from attnrec.cli.output import results
from attnrec.cli.spelling import running
from attnrec.evaluation.significance import PairedBootstrap
from attnrec.experiments.compare import Comparison
from attnrec.experiments.report import build_result, trend, write_result
from attnrec.experiments.result import ComparisonFindings, OverSeeds
from attnrec.experiments.tables import tables, to_markdown
from tests.experiments.conftest import VARIANTS


def test_the_result_against_the_runs(finished: Comparison) -> None:
    result = build_result(finished)
    assert [variant.attention for variant, _ in result.trained()] == list(VARIANTS)
    for variant, figures in result.trained():
        summaries = [finished.run(variant.attention, seed).result() for seed in (4, 5)]
        for protocol, metrics in figures.test.items():
            for name, value in metrics.items():
                values = [summary["test"][protocol][name] for summary in summaries]
                assert value.values == tuple(values)
                assert value.mean == pytest.approx(np.mean(values))
                assert value.sd == pytest.approx(np.std(values, ddof=1))
        assert figures.grad_norm.max.values == tuple(summary["grad_norm"]["max"] for summary in summaries)
        assert figures.peak_memory_bytes == max(summary["peak_memory_bytes"] for summary in summaries)
        assert figures.best_epoch == tuple(summary["best_epoch"] for summary in summaries)
    assert not result.variants[0].difference
    found = result.variants[1].difference["full"]
    expected = np.mean(
        [
            finished.run(VARIANTS[1], s).result()["test"]["full"]["NDCG@10"]
            - finished.run(VARIANTS[0], s).result()["test"]["full"]["NDCG@10"]
            for s in (4, 5)
        ]
    )
    assert found.mean == pytest.approx(expected)
    assert found.low <= found.mean <= found.high
    assert (found.users, found.seeds) == (40, 2)
    assert found.p_holm is not None
    assert found.adjusted_low is not None
    assert found.adjusted_high is not None
    if found.p_holm < 0.05:
        assert found.verdict == ("better" if found.adjusted_low > 0 else "worse")
    else:
        assert found.verdict == "no difference shown"
        assert found.adjusted_low <= 0 <= found.adjusted_high


def test_files_of_the_result(finished: Comparison) -> None:
    result = build_result(finished)
    write_result(finished, result)
    assert json.loads((finished.path / "comparison.json").read_text()) == result.as_json()
    page = (finished.path / "comparison.md").read_text()
    for table in tables(result):
        assert f"## {table.title}" in page
        assert table.rows
        for row in table.rows:
            assert "| " + " | ".join(row) + " |" in page
    assert "no difference shown" in page or "better" in page or "worse" in page


def test_figures(finished: Comparison) -> None:
    figures = comparison_figures(finished)
    assert list(figures) == [
        "ndcg-by-cutoff",
        "ndcg-differences",
        "validation-by-epoch",
        "validation-by-time",
        "gradient-norm-by-step",
        "gradient-norm-by-epoch",
    ]
    for name, figure in figures.items():
        if name == "ndcg-differences":
            continue
        assert [text.get_text() for text in figure.legends[0].get_texts()] == list(VARIANTS)
        assert all(axes.collections for axes in figure.axes)  # the bands over seeds
    norms = figures["gradient-norm-by-step"].axes[0].get_lines()
    log = finished.run(VARIANTS[1], 4).log()
    assert list(np.asarray(norms[-1].get_xdata())) == [line["step"] for line in log if "loss" in line]
    lines = figures["ndcg-by-cutoff"].axes[0].get_lines()
    _, drawn = build_result(finished).trained()[0]
    assert [float(x) for x in np.asarray(lines[0].get_xdata())] == [1, 5, 10]
    assert np.asarray(lines[0].get_ydata()) == pytest.approx([drawn.test["full"][f"NDCG@{n}"].mean for n in (1, 5, 10)])


def test_trend() -> None:
    assert trend([4.0, 1.0, 1.0, 1.0, 2.0]) == 0.5
    assert trend([3.0]) == 1.0
    assert trend([2.0] * 4 + [1.0] * 16) == 0.5


def test_one_seed_has_no_spread(finished: Comparison) -> None:
    one = replace(finished, seeds=(4,))
    result = build_result(one)
    assert [figures.test["full"]["NDCG@10"].sd for _, figures in result.trained()] == [None, None]
    assert "±" not in "".join(cell for table in tables(result) for row in table.rows for cell in row)
    assert "Difference for one seed" in to_markdown(one, result)


def test_nothing_is_claimed_of_one_seed(finished: Comparison) -> None:
    one = replace(finished, seeds=(4,))
    result = build_result(one)
    for found in result.variants[1].difference.values():
        assert (found.p_value, found.p_holm, found.adjusted_low) == (None, None, None)
        assert found.verdict == "not tested"
        assert found.advice.startswith("one seed says nothing")
    page = to_markdown(one, result)
    assert "these two trained models" in page
    assert not any(words in page for words in ("better |", "worse |", "| p |"))


def test_a_variant_of_one_seed_among_others_is_marked(finished: Comparison) -> None:
    result = build_result(finished)
    lone = replace(build_result(replace(finished, seeds=(4,))).variants[1], attention="lone")
    result = replace(result, variants=(*result.variants, lone))
    words, full, _ = tables(result)[4:7]
    assert words.rows[-1][2].startswith("one seed says nothing")
    assert full.rows[-1][3:] == ("one seed", "-")
    assert "the 2 differences shown together" in full.note


def test_both_protocols_are_tested_together(finished: Comparison) -> None:
    """The adjustment counts every difference that is shown: of two p-values the smaller one is doubled."""
    found = build_result(finished).variants[1].difference
    (small, small_holm), (large, large_holm) = sorted((each.p_value or 0, each.p_holm or 0) for each in found.values())
    assert 0 < small_holm == pytest.approx(min(1.0, 2 * small))
    assert large_holm >= max(small_holm, large)


def test_what_it_costs(finished: Comparison) -> None:
    result = build_result(finished)
    (first, of_first), (other, of_other) = result.trained()
    assert first.seconds_ratio == 1.0
    assert other.seconds_ratio == pytest.approx(of_other.seconds_per_epoch / of_first.seconds_per_epoch)
    assert result.equal_time is not None
    fastest = next(one for one in result.variants if one.attention == result.equal_time.fastest)
    best = [finished.run(fastest.attention, seed).result()["valid"]["full"]["NDCG@10"] for seed in finished.seeds]
    assert fastest.valid_at_equal_time == OverSeeds.of(best)  # it has all of its own time
    (cost,) = (table for table in tables(result) if table.title == "Cost")
    assert [row[0] for row in cost.rows] == list(VARIANTS)
    assert f"that {fastest.attention}, the fastest, took in total" in cost.note


def with_second(result: ComparisonFindings, **changes: Any) -> ComparisonFindings:
    """The result with a changed second variant."""
    first, second, *others = result.variants
    return replace(result, variants=(first, replace(second, **changes), *others))


def test_what_is_said_of_both_protocols_stands_in_one_row(finished: Comparison) -> None:
    result = build_result(finished)
    found = result.variants[1].difference["full"]
    open_ = replace(found, p_holm=0.5, verdict="no difference shown", advice="about 2", more_seeds=2)
    words = tables(with_second(result, difference={"full": open_, "sampled": open_}))[3]
    assert words.rows == ((VARIANTS[1], "full, sampled", "no difference shown; about 2"),)
    assert "second chance" in words.note
    shown = replace(found, p_holm=0.01, verdict="better", advice="", more_seeds=None)
    words = tables(with_second(result, difference={"full": shown, "sampled": open_}))[3]
    assert [row[1:] for row in words.rows] == [("full", "better"), ("sampled", "no difference shown; about 2")]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_of_ten_variants_fit_the_terminal(
    finished: Comparison, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(results, "_width", width)
    running(None)  # no command: options stay as the library names them
    result = build_result(finished)
    others = [replace(result.variants[1], attention=f"variant-{n}") for n in range(8)]
    options = {"attention": VARIANTS[1], "position": False, "feed_forward_dropout": 0.5}
    result = with_second(replace(result, variants=(*result.variants, *others)), options=options)
    with results.capture() as captured:
        for table in tables(result):
            _show(table)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.endswith(("│", "┃", "┓", "┩", "┘")) for line in lines if line[:1] in set("│┃┏┡└"))
    assert not any("…" in line for line in lines)
    ranking = lines[: lines.index("", 2)]
    assert sum(line.startswith("│ variant-") for line in ranking) == 8  # a line each
    assert lines[1].startswith("Ranking by NDCG@10")
    assert any("`feed_forward_dropout=0.5`" in line for line in lines)
    assert any(line.startswith("Also in comparison.md: ") for line in lines)


def test_the_ranking_has_the_best_first(finished: Comparison) -> None:
    result = build_result(finished)
    _, figures = result.trained()[1]
    test = {**figures.test, "full": {**figures.test["full"], "NDCG@10": OverSeeds(0.9, 0.01, (0.89, 0.91))}}
    result = with_second(result, figures=replace(figures, test=test))
    ranking = tables(result)[0]
    assert [row[0] for row in ranking.rows] == [VARIANTS[1], VARIANTS[0]]
    assert ranking.rows[0][1:3] == ("0.9000", "0.0100")
    assert ranking.rows[0][3] == f"{result.variants[1].difference['full'].mean:+.4f}"
    assert ranking.rows[1][3:] == ("-", "-")
    metrics = tables(result)[1]
    assert metrics.headers[:4] == ("variant", "NDCG@10", "Hit@10", "MRR")


def test_the_difference_is_paired(finished: Comparison) -> None:
    """Variants evaluated on the same users: the interval of a variant against itself is the point 0."""
    ranks = finished.run("sdpa", 4).test_ranks().full
    table = (1 / torch.log2(ranks.above.double() + 2)).numpy()[None]
    assert PairedBootstrap(table - table).interval(0.05) == (0, 0)
