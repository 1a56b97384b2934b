"""Comparisons: equal terms for all, nothing repeated, failures reported, results that can be checked by hand."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.analysis.comparison_figures import comparison_figures
from attnrec.attention import operator as operator_module
from attnrec.attention import register_attention
from attnrec.attention.sdpa import ScaledDotProductAttention
from attnrec.cli.compare import _show
from attnrec.cli.output import console
from attnrec.data.load import load_interactions
from attnrec.errors import InputError
from attnrec.evaluation.significance import PairedBootstrap
from attnrec.experiments import pool
from attnrec.experiments.compare import Comparison, open_comparison, plan, prepare
from attnrec.experiments.pool import ComparisonObserver, run_all
from attnrec.experiments.report import build_result, trend, write_result
from attnrec.experiments.tables import problems, tables, to_markdown
from attnrec.training.config import TrainConfig
from attnrec.training.loop import train
from attnrec.training.run_directory import RunDirectory
from attnrec.training.setup import build_model

VARIANTS = ("sdpa", "awr:refinement=value,width=4")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """40 users, 30 items."""
    generator = np.random.default_rng(3)
    lines = [f"u{u} i{item}" for u in range(40) for item in generator.integers(1, 31, generator.integers(4, 20))]
    path = tmp_path_factory.mktemp("data") / "tiny.txt"
    path.write_text("\n".join(lines) + "\n")
    return TrainConfig(
        dataset=str(path), max_len=10, dim=8, batch_size=8, epochs=3, eval_every=1, cutoffs=(1, 5, 10), seed=4
    )


@pytest.fixture(scope="module")
def finished(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two variants, two seeds, trained two at a time."""
    comparison = plan(config, VARIANTS, 2, tmp_path_factory.mktemp("out") / "comparison")
    prepare(comparison)
    outcome = run_all(comparison, jobs=2)
    assert not outcome.failures
    assert not outcome.interrupted
    return comparison


class Recorder(ComparisonObserver):
    def __init__(self) -> None:
        self.ran: list[tuple[str, int, str]] = []

    def run_ended(self, variant: str, seed: int, kind: str, message: str) -> None:
        self.ran.append((variant, seed, kind))


# -- equal terms -------------------------------------------------------------------------------------------


def test_shared_parameters_start_equal(config: TrainConfig) -> None:
    states = []
    for variant in ("sdpa", "awr", "awr:width=3,refinement=simple", "awr+sdpa"):
        torch.manual_seed(5)
        states.append(build_model(replace(config, attention=variant), 30, 40, torch.device("cpu")).state_dict())
    for state in states[1:]:
        shared = states[0].keys() & state.keys()
        assert shared == states[0].keys()
        assert all(states[0][name].equal(state[name]) for name in shared)
    torch.manual_seed(6)
    other = build_model(replace(config, attention="sdpa"), 30, 40, torch.device("cpu")).state_dict()
    assert not states[0]["item_embedding.weight"].equal(other["item_embedding.weight"])
    assert not states[0]["trunk.0.out.weight"].equal(states[0]["trunk.1.out.weight"])


def test_a_variant_that_changes_nothing_changes_nothing(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same batches, negatives, dropout and candidates: a twin of sdpa that draws random numbers trains the same."""
    monkeypatch.setattr(operator_module, "_registry", dict(operator_module._registry))

    @register_attention("twin")
    class Twin(ScaledDotProductAttention):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.unused = torch.nn.Parameter(torch.randn(7))
            self.linear = torch.nn.Linear(3, 3)

        def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Any) -> Tensor:
            return super().forward_packed(q, k, v, packing) + 0 * (self.unused.sum() + self.linear.weight.sum())

    summaries = [train(replace(config, attention=name), tmp_path / name) for name in ("sdpa", "twin")]
    assert summaries[0]["test"] == summaries[1]["test"]
    assert summaries[0]["grad_norm"] == summaries[1]["grad_norm"]


def test_a_variant_of_this_program_alone_is_refused(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_module, "_registry", dict(operator_module._registry))
    register_attention("mine")(type("Mine", (ScaledDotProductAttention,), {"__module__": "somewhere"}))
    with pytest.raises(InputError, match="mine is registered in this program alone"):
        plan(config, ["sdpa", "mine"], 1, tmp_path / "compared")
    with pytest.raises(InputError, match=r"sdpa and attnrec\.attention\.sdpa:ScaledDotProductAttention are the same"):
        plan(config, ["sdpa", "attnrec.attention.sdpa:ScaledDotProductAttention"], 1, tmp_path / "compared")


def test_runs_are_ordinary_runs_with_their_own_seed(finished: Comparison, config: TrainConfig) -> None:
    assert finished.seeds == (4, 5)
    for variant, seed in finished.runs():
        assert finished.run(variant, seed).config() == replace(config, attention=variant, seed=seed)
    assert [seed for _, seed in finished.runs()] == [4, 4, 5, 5]


# -- the result --------------------------------------------------------------------------------------------


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
        "validation-by-epoch",
        "validation-by-time",
        "gradient-norm-by-step",
        "gradient-norm-by-epoch",
    ]
    for figure in figures.values():
        assert [text.get_text() for text in figure.legends[0].get_texts()] == list(VARIANTS)
        assert all(axes.collections for axes in figure.axes)  # the bands over seeds
    lines = figures["ndcg-by-cutoff"].axes[0].get_lines()
    expected = build_result(finished)["variants"][0]["test"]["full"]
    assert [float(x) for x in np.asarray(lines[0].get_xdata())] == [1, 5, 10]
    assert np.asarray(lines[0].get_ydata()) == pytest.approx([expected[f"NDCG@{n}"]["mean"] for n in (1, 5, 10)])


def test_runs_that_logged_no_seconds_are_not_drawn_by_time(finished: Comparison, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "old")
    old = open_comparison(tmp_path / "old")
    for variant, expected in ((VARIANTS[1], [VARIANTS[0]]), (VARIANTS[0], None)):
        for seed in old.seeds:
            log = old.run(variant, seed).path / "metrics.jsonl"
            log.write_text(re.sub(r'"seconds": [^,]*, ', "", log.read_text()))
        figure = comparison_figures(old).get("validation-by-time")
        found = figure and [text.get_text() for text in figure.legends[0].get_texts()]
        assert found == expected
    assert build_result(old)["equal_time"] is None


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
        assert found["advice"].startswith("one seed: at least two more are needed")
    page = to_markdown(one, result)
    assert "these two trained models" in page
    assert not any(words in page for words in ("better |", "worse |", "| p |"))


def test_a_variant_of_one_seed_among_others_is_marked(finished: Comparison) -> None:
    result = build_result(finished)
    lone = build_result(replace(finished, seeds=(4,)))["variants"][1] | {"attention": "lone"}
    result["variants"].append(lone)
    words, full, _ = tables(finished, result)[2:5]
    assert words.rows[-1][2].startswith("one seed: at least two more")
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
    words = tables(finished, result)[2]
    assert words.rows == ((VARIANTS[1], "full, sampled", "no difference shown; about 2"),)
    assert "second chance" in words.note
    found["full"] |= {"p_holm": 0.01, "verdict": "better", "advice": "", "more_seeds": None}
    assert [row[1:] for row in tables(finished, result)[2].rows] == [
        ("full", "better"),
        ("sampled", "no difference shown; about 2"),
    ]


def test_tables_fit_a_terminal_of_80_columns(finished: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 80)
    with console.capture() as shown:
        for table in tables(finished, build_result(finished)):
            _show(table)
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.endswith(("│", "┃", "┓", "┩", "┘")) for line in lines if line[:1] in set("│┃┏┡└"))


def test_the_difference_is_paired(finished: Comparison) -> None:
    """Variants evaluated on the same users: the interval of a variant against itself is the point 0."""
    ranks = finished.run("sdpa", 4).test_ranks().full
    table = (1 / torch.log2(ranks.above.double() + 2)).numpy()[None]
    assert PairedBootstrap(table - table).interval(0.05) == (0, 0)


# -- going on ----------------------------------------------------------------------------------------------


def test_nothing_finished_is_repeated_and_seeds_can_be_added(finished: Comparison, config: TrainConfig) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.glob("runs/*/*/summary.json")}
    assert len(before) == 4
    again = plan(config, [*VARIANTS, "awr:width=5"], 2, finished.path)
    prepare(again)
    watcher = Recorder()
    assert not run_all(again, observer=watcher).failures
    assert watcher.ran == [("awr:width=5", 4, "finished"), ("awr:width=5", 5, "finished")]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert open_comparison(finished.path).variants == again.variants
    finished.write_plan()


def test_an_interrupted_comparison_goes_on(config: TrainConfig, tmp_path: Path) -> None:
    """Ctrl-C at the terminal in the middle of a run; run again, it ends with the weights of one never stopped."""
    config = replace(config, epochs=150, eval_every=100)
    values = [f"--{key.replace('_', '-')}={getattr(config, key)}" for key in ("dim", "epochs", "seed")]
    values += ["--max-len=10", "--batch-size=8", "--eval-every=100", "--cutoffs=1,10", "--dataset", config.dataset]
    command = [sys.executable, "-c", "from attnrec.cli.main import main; main()", "compare"]
    command += ["--attention=sdpa", "--attention=awr:width=4", "--seeds=1", "--out", str(tmp_path / "c"), *values]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    log = tmp_path / "c" / "runs" / "sdpa" / "seed-4" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size > 3000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "goes on where it stopped" in shown
    assert "sdpa, seed 4: not finished" in shown
    stopped = RunDirectory(log.parent).summary()
    assert stopped is not None
    assert stopped["interrupted"]
    assert not (tmp_path / "c" / "runs" / "awr_width=4").exists()
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    whole = train(replace(config, cutoffs=(1, 10), attention="sdpa"), tmp_path / "whole")
    resumed = RunDirectory(log.parent).summary()
    assert resumed is not None
    assert resumed["test"] == whole["test"]
    assert resumed["grad_norm"]["max"] == whole["grad_norm"]["max"]
    assert RunDirectory(tmp_path / "c" / "runs" / "awr_width=4" / "seed-4").summary() is not None


def test_a_run_that_never_saved_a_state_starts_anew(config: TrainConfig, tmp_path: Path) -> None:
    comparison = plan(config, VARIANTS, 1, tmp_path / "c")
    prepare(comparison)
    broken = comparison.run("sdpa", 4)
    train(comparison.run_config("sdpa", 4), broken.path)
    for name in ("state", "summary.json", "weights.safetensors", "test_ranks.safetensors"):
        (broken.path / name).unlink()
    prepare(comparison)
    assert not broken.path.exists()


@pytest.mark.parametrize("gone", ["test_ranks.safetensors", "metrics.jsonl", "config.toml", "weights.safetensors"])
def test_a_damaged_run_is_trained_again(config: TrainConfig, tmp_path: Path, gone: str) -> None:
    comparison = plan(config, VARIANTS, 1, tmp_path / "c")
    prepare(comparison)
    run = comparison.run("sdpa", 4)
    train(comparison.run_config("sdpa", 4), run.path)
    assert comparison.finished("sdpa", 4)
    (run.path / gone).unlink()
    assert not comparison.finished("sdpa", 4)
    prepare(comparison)
    assert not run.path.exists()


# -- failures ----------------------------------------------------------------------------------------------


def test_a_failing_variant_is_reported_and_the_others_finish(config: TrainConfig, tmp_path: Path) -> None:
    failing = "awr:temperature=1e300"  # infinite in float32
    comparison = plan(config, ["sdpa", failing, "awr"], 1, tmp_path / "c")
    prepare(comparison)
    outcome = run_all(comparison)
    assert list(outcome.failures) == [(failing, 4)]
    assert "not finite" in outcome.failures[failing, 4] or "nan" in outcome.failures[failing, 4]
    result = build_result(comparison, outcome.failures)
    assert [len(entry["seeds"]) for entry in result["variants"]] == [1, 0, 1]
    assert result["variants"][1]["failed"] == [{"seed": 4, "message": outcome.failures[failing, 4]}]
    (line,) = problems(result)
    assert line.startswith(f"{failing}, seed 4 failed: ")
    assert line in to_markdown(comparison, result)
    assert failing not in [row[0] for row in tables(comparison, result)[2].rows]
    write_result(comparison, result)


def test_a_killed_worker_reads_as_out_of_memory(config: TrainConfig, tmp_path: Path) -> None:
    comparison = plan(replace(config, epochs=10000), VARIANTS, 1, tmp_path / "c")
    prepare(comparison)
    job = pool._Job(comparison, ("sdpa", 4), queue.Queue(), threads=1)
    os.kill(job.process.pid, signal.SIGKILL)
    kind, message = job.result()
    assert kind == "failed"
    assert "out of memory" in message


@pytest.mark.parametrize(
    ("variants", "seeds", "changes", "message"),
    [
        (("sdpa", "awr"), 0, {}, "--seeds must be at least 1, not 0"),
        (("sdpa",), 3, {}, "at least two variants"),
        (("sdpa", "sdpa"), 1, {}, "two identical variants: sdpa is given twice"),
        (("awr", "awr:refinement=value"), 1, {}, "awr and awr:refinement=value are the same"),
        (("sdpa", "awr:refinement=cubic"), 1, {}, "refinement=cubic is not one of simple, value, additive"),
        (("sdpa", "aws"), 1, {}, "unknown attention variant 'aws'; did you mean awr?"),
        (("sdpa", "awr"), 1, {"cutoffs": (1, 31)}, "N = 31 is not between 1 and the number of items, 30"),
        (("sdpa", "sdpa+awr+awr"), 1, {}, "3 operators joined by +, and --blocks is 2"),
        (("sdpa", "awr"), 1, {"dataset": "nowhere.txt"}, "no data set or file 'nowhere.txt'"),
    ],
)
def test_bad_input(
    config: TrainConfig, tmp_path: Path, variants: tuple[str, ...], seeds: int, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        plan(replace(config, **changes), variants, seeds, tmp_path / "c")
    assert message in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_a_folder_of_something_else_is_left_alone(finished: Comparison, config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        plan(config, VARIANTS, 1, tmp_path)
    with pytest.raises(InputError, match="is not a directory"):
        plan(config, VARIANTS, 1, tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"comparison with --lr 0\.001, not 0\.1; choose another --out"):
        plan(replace(config, lr=0.1), VARIANTS, 1, finished.path)
    other = tmp_path / "other.txt"
    other.write_text(Path(config.dataset).read_text().replace("i7\n", "i8\n"))
    assert load_interactions(str(other)).num_items
    with pytest.raises(InputError, match="runs on other data"):
        plan(replace(config, dataset=str(other)), VARIANTS, 1, finished.path)
    with pytest.raises(InputError, match="is not a comparison"):
        open_comparison(tmp_path)
