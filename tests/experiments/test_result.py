"""The result of a comparison: figures that can be checked by hand, files, tables, drawings."""

from __future__ import annotations

import json
from dataclasses import replace

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
from attnrec.experiments.tables import tables, to_markdown
from tests.experiments.conftest import VARIANTS


def test_the_result_against_the_runs(finished: Comparison) -> None:
    result = build_result(finished)
    assert [entry["attention"] for entry in result["variants"]] == list(VARIANTS)
    for entry in result["variants"]:
        summaries = [finished.run(entry["attention"], seed).summary() or {} for seed in (4, 5)]
        for protocol, metrics in entry["test"].items():
            for name, value in metrics.items():
                values = [summary["test"][protocol][name] for summary in summaries]
                assert value["values"] == values
                assert value["mean"] == pytest.approx(np.mean(values))
                assert value["sd"] == pytest.approx(np.std(values, ddof=1))
        assert entry["grad_norm"]["max"]["values"] == [summary["grad_norm"]["max"] for summary in summaries]
        assert entry["peak_memory_bytes"] == max(summary["peak_memory_bytes"] for summary in summaries)
        assert entry["best_epoch"] == [summary["best_epoch"] for summary in summaries]
    assert "difference" not in result["variants"][0]
    found = result["variants"][1]["difference"]["full"]
    expected = np.mean(
        [
            (finished.run(VARIANTS[1], s).summary() or {})["test"]["full"]["NDCG@10"]
            - (finished.run(VARIANTS[0], s).summary() or {})["test"]["full"]["NDCG@10"]
            for s in (4, 5)
        ]
    )
    assert found["mean"] == pytest.approx(expected)
    assert found["low"] <= found["mean"] <= found["high"]
    assert (found["users"], found["seeds"]) == (40, 2)
    if found["p_holm"] < 0.05:
        assert found["verdict"] == ("better" if found["adjusted_low"] > 0 else "worse")
    else:
        assert found["verdict"] == "no difference shown"
        assert found["adjusted_low"] <= 0 <= found["adjusted_high"]


def test_files_of_the_result(finished: Comparison) -> None:
    result = build_result(finished)
    write_result(finished, result)
    assert json.loads((finished.path / "comparison.json").read_text()) == result
    page = (finished.path / "comparison.md").read_text()
    for table in tables(finished, result):
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
    expected = build_result(finished)["variants"][0]["test"]["full"]
    assert [float(x) for x in np.asarray(lines[0].get_xdata())] == [1, 5, 10]
    assert np.asarray(lines[0].get_ydata()) == pytest.approx([expected[f"NDCG@{n}"]["mean"] for n in (1, 5, 10)])


def test_trend() -> None:
    assert trend([4.0, 1.0, 1.0, 1.0, 2.0]) == 0.5
    assert trend([3.0]) == 1.0
    assert trend([2.0] * 4 + [1.0] * 16) == 0.5


def test_one_seed_has_no_spread(finished: Comparison) -> None:
    one = replace(finished, seeds=(4,))
    result = build_result(one)
    assert result["variants"][0]["test"]["full"]["NDCG@10"]["sd"] is None
    assert "±" not in "".join(cell for table in tables(one, result) for row in table.rows for cell in row)
    assert "of one seed" in to_markdown(one, result)


def test_nothing_is_claimed_of_one_seed(finished: Comparison) -> None:
    one = replace(finished, seeds=(4,))
    result = build_result(one)
    for found in result["variants"][1]["difference"].values():
        assert (found["p_value"], found["p_holm"], found["adjusted_low"]) == (None, None, None)
        assert found["verdict"] == "not tested"
        assert found["advice"].startswith("one seed: nothing can be said")
    page = to_markdown(one, result)
    assert "these two trained models" in page
    assert not any(words in page for words in ("better |", "worse |", "| p |"))


def test_a_variant_of_one_seed_among_others_is_marked(finished: Comparison) -> None:
    result = build_result(finished)
    lone = build_result(replace(finished, seeds=(4,)))["variants"][1] | {"attention": "lone"}
    result["variants"].append(lone)
    words, full, _ = tables(finished, result)[4:7]
    assert words.rows[-1][2].startswith("one seed: nothing can be said")
    assert full.rows[-1][3:] == ("one seed", "-")
    assert "the 2 differences shown together" in full.note


def test_both_protocols_are_tested_together(finished: Comparison) -> None:
    """The adjustment counts every difference that is shown: of two p-values the smaller one is doubled."""
    found = build_result(finished)["variants"][1]["difference"]
    small, large = sorted(found.values(), key=lambda each: each["p_value"])
    assert small["p_holm"] == pytest.approx(min(1.0, 2 * small["p_value"]))
    assert large["p_holm"] >= max(small["p_holm"], large["p_value"])


def test_what_it_costs(finished: Comparison) -> None:
    result = build_result(finished)
    first, other = result["variants"]
    assert first["seconds_ratio"] == 1.0
    assert other["seconds_ratio"] == pytest.approx(other["seconds_per_epoch"] / first["seconds_per_epoch"])
    fastest = next(entry for entry in result["variants"] if entry["attention"] == result["equal_time"]["fastest"])
    best = [
        (finished.run(fastest["attention"], seed).summary() or {})["valid"]["full"]["NDCG@10"]
        for seed in finished.seeds
    ]
    assert fastest["valid_at_equal_time"]["values"] == best  # it has all of its own time
    (cost,) = (table for table in tables(finished, result) if table.title == "Cost")
    assert [row[0] for row in cost.rows] == list(VARIANTS)
    assert f"that {result['equal_time']['fastest']}, the fastest, took in all" in cost.note


def test_what_is_said_of_both_protocols_stands_in_one_row(finished: Comparison) -> None:
    result = build_result(finished)
    found = result["variants"][1]["difference"]
    found["full"] |= {"p_holm": 0.5, "verdict": "no difference shown", "advice": "about 2", "more_seeds": 2}
    found["sampled"] |= {"p_holm": 0.5, "verdict": "no difference shown", "advice": "about 2", "more_seeds": 2}
    words = tables(finished, result)[3]
    assert words.rows == ((VARIANTS[1], "full, sampled", "no difference shown; about 2"),)
    assert "second chance" in words.note
    found["full"] |= {"p_holm": 0.01, "verdict": "better", "advice": "", "more_seeds": None}
    assert [row[1:] for row in tables(finished, result)[3].rows] == [
        ("full", "better"),
        ("sampled", "no difference shown; about 2"),
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_of_ten_variants_fit_the_terminal(
    finished: Comparison, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(results, "_width", width)
    running(None)  # no command: options stay as the library names them
    result = build_result(finished)
    result["variants"] += [result["variants"][1] | {"attention": f"variant-{n}"} for n in range(8)]
    result["variants"][1]["options"] = {"attention": VARIANTS[1], "position": False, "feed_forward_dropout": 0.5}
    with results.capture() as captured:
        for table in tables(finished, result):
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
    result["variants"][1]["test"]["full"]["NDCG@10"] |= {"mean": 0.9, "sd": 0.01}
    ranking = tables(finished, result)[0]
    assert [row[0] for row in ranking.rows] == [VARIANTS[1], VARIANTS[0]]
    assert ranking.rows[0][1:3] == ("0.9000", "0.0100")
    assert ranking.rows[0][3] == f"{result['variants'][1]['difference']['full']['mean']:+.4f}"
    assert ranking.rows[1][3:] == ("-", "-")
    metrics = tables(finished, result)[1]
    assert metrics.headers[:4] == ("variant", "NDCG@10", "Hit@10", "MRR")


def test_the_difference_is_paired(finished: Comparison) -> None:
    """Variants evaluated on the same users: the interval of a variant against itself is the point 0."""
    ranks = finished.run("sdpa", 4).test_ranks().full
    table = (1 / torch.log2(ranks.above.double() + 2)).numpy()[None]
    assert PairedBootstrap(table - table).interval(0.05) == (0, 0)
