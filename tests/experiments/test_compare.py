"""Comparisons: equal terms for all, nothing repeated, failures reported."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from attnrec.attention import ATTENTION, register_attention
from attnrec.attention.sdpa import ScaledDotProductAttention
from attnrec.core.errors import InputError
from attnrec.data.catalogue import Catalogue
from attnrec.data.load import load_interactions
from attnrec.experiments import pool
from attnrec.experiments.compare import Comparison, open_comparison, plan, prepare
from attnrec.experiments.pool import ComparisonObserver, run_all
from attnrec.experiments.report import build_result, write_result
from attnrec.experiments.result import FailedRun
from attnrec.experiments.tables import problems, tables, to_markdown
from attnrec.models.build import build_model
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from tests.experiments.conftest import VARIANTS


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
        states.append(
            build_model(
                config.changed(attention=variant).model, Catalogue(30, 40), torch.device("cpu"), "the data"
            ).state_dict()
        )
    for state in states[1:]:
        shared = states[0].keys() & state.keys()
        assert shared == states[0].keys()
        assert all(states[0][name].equal(state[name]) for name in shared)
    torch.manual_seed(6)
    other = build_model(
        config.changed(attention="sdpa").model, Catalogue(30, 40), torch.device("cpu"), "the data"
    ).state_dict()
    assert not states[0]["item_embedding.weight"].equal(other["item_embedding.weight"])
    assert not states[0]["trunk.0.mixer.qkv.weight"].equal(states[0]["trunk.1.mixer.qkv.weight"])


def test_a_variant_that_changes_nothing_changes_nothing(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same batches, negatives, dropout and candidates: a twin of sdpa that draws random numbers trains the same."""
    monkeypatch.setattr(ATTENTION, "_registered", ATTENTION.registered())

    @register_attention("twin")
    class Twin(ScaledDotProductAttention):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.unused = torch.nn.Parameter(torch.randn(7))
            self.linear = torch.nn.Linear(3, 3)

        def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Any) -> Tensor:
            return super().forward_packed(q, k, v, packing) + 0 * (self.unused.sum() + self.linear.weight.sum())

    summaries = [train(config.changed(attention=name), tmp_path / name) for name in ("sdpa", "twin")]
    assert summaries[0]["test"] == summaries[1]["test"]
    # parameters without a gradient change the order in which squares are added up
    assert summaries[0]["grad_norm"] == pytest.approx(summaries[1]["grad_norm"], rel=1e-6)


def test_a_variant_of_this_program_alone_is_refused(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ATTENTION, "_registered", ATTENTION.registered())
    register_attention("mine")(type("Mine", (ScaledDotProductAttention,), {"__module__": "somewhere"}))
    with pytest.raises(InputError, match="mine is only registered in this process"):
        plan(config, ["sdpa", "mine"], 1, tmp_path / "compared")
    with pytest.raises(InputError, match=r"sdpa and attnrec\.attention\.sdpa:ScaledDotProductAttention are the same"):
        plan(config, ["sdpa", "attnrec.attention.sdpa:ScaledDotProductAttention"], 1, tmp_path / "compared")


def test_runs_are_ordinary_runs_with_their_own_seed(finished: Comparison, config: TrainConfig) -> None:
    assert finished.seeds == (4, 5)
    for variant, seed in finished.runs():
        assert finished.run(variant, seed).config() == config.changed(
            attention=variant, seed=seed, split="leave-one-out"
        )
    assert [seed for _, seed in finished.runs()] == [4, 4, 5, 5]


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


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on(config: TrainConfig, tmp_path: Path) -> None:
    """Ctrl-C at the terminal in the middle of a run; run again, it ends with the weights of one never stopped."""
    config = config.changed(epochs=150, eval_every=100)
    values = [f"--{key.replace('_', '-')}={config.value(key)}" for key in ("dim", "epochs", "seed")]
    values += ["--max-len=10", "--batch-size=8", "--eval-every=100", "--cutoffs=1,10", "--dataset", config.data.dataset]
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
    assert "interrupted: run the same command to continue" in shown
    assert "sdpa, seed 4: not finished" in shown
    stopped = RunDirectory(log.parent).summary()
    assert stopped is not None
    assert stopped["interrupted"]
    assert not (tmp_path / "c" / "runs" / "awr_width=4").exists()
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    whole = train(config.changed(cutoffs=(1, 10), attention="sdpa"), tmp_path / "whole")
    resumed = RunDirectory(log.parent).summary()
    assert resumed is not None
    assert resumed["test"] == whole["test"]
    assert resumed["grad_norm"]["max"] == whole["grad_norm"]["max"]
    assert RunDirectory(tmp_path / "c" / "runs" / "awr_width=4" / "seed-4").summary() is not None


# -- failures ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_failing_variant_is_reported_and_the_others_finish(config: TrainConfig, tmp_path: Path) -> None:
    failing = str(tmp_path / "bad.py")
    Path(failing).write_text(
        "from attnrec.attention import AttentionOperator\n"
        "class Bad(AttentionOperator):\n"
        "    def weights(self, q, k, ctx): ...\n"
        "    def forward(self, q, k, v, ctx): return v * float('nan')\n"
    )
    comparison = plan(config, ["sdpa", failing, "awr"], 1, tmp_path / "c")
    prepare(comparison)
    outcome = run_all(comparison)
    assert list(outcome.failures) == [(failing, 4)]
    assert "not finite" in outcome.failures[failing, 4] or "nan" in outcome.failures[failing, 4]
    result = build_result(comparison, outcome.failures)
    assert [len(entry.seeds) for entry in result.variants] == [1, 0, 1]
    assert result.variants[1].failed == (FailedRun(4, outcome.failures[failing, 4]),)
    (line,) = problems(result)
    assert line.startswith(f"{failing}, seed 4 failed: ")
    assert line in to_markdown(comparison, result)
    assert failing not in [row[0] for table in tables(result) for row in table.rows]
    write_result(comparison, result)


@pytest.mark.slow
def test_what_a_variant_prints_stops_nothing(config: TrainConfig, tmp_path: Path) -> None:
    talking = str(tmp_path / "talking.py")
    Path(talking).write_text(
        "from attnrec.attention.sdpa import ScaledDotProductAttention\n"
        "print(dict(a=1))\n"
        "print('{\"event\": 3}')\n"
        "class Talking(ScaledDotProductAttention): ...\n"
    )
    comparison = plan(config.changed(epochs=1), ["sdpa", talking], 1, tmp_path / "c")
    prepare(comparison)
    watcher = Recorder()
    run_all(comparison, observer=watcher)
    assert watcher.ran == [("sdpa", 4, "finished"), (talking, 4, "finished")]


def test_a_killed_worker_reads_as_out_of_memory(config: TrainConfig, tmp_path: Path) -> None:
    comparison = plan(config.changed(epochs=10000), VARIANTS, 1, tmp_path / "c")
    prepare(comparison)
    job = pool._Job(comparison, ("sdpa", 4), queue.Queue(), threads=1)
    os.kill(job.process.pid, signal.SIGKILL)
    end = job.result()
    assert end.event == "failed"
    assert "out of memory" in end.message


@pytest.mark.parametrize(
    ("variants", "seeds", "changes", "message"),
    [
        (("sdpa", "awr"), 0, {}, "`seeds` must be at least 1, not 0"),
        (("sdpa",), 3, {}, "at least two variants"),
        (("sdpa", "sdpa"), 1, {}, "two identical variants: sdpa is given twice"),
        (("awr", "awr:refinement=value"), 1, {}, "awr and awr:refinement=value are the same"),
        (("sdpa", "awr:refinement=cubic"), 1, {}, "refinement=cubic is not one of simple, value, additive"),
        (("sdpa", "aws"), 1, {}, "unknown attention variant 'aws'; did you mean awr?"),
        (("sdpa", "awr"), 1, {"cutoffs": (1, 31)}, "N = 31 is not between 1 and the number of items, 30"),
        (("sdpa", "sdpa+awr+awr"), 1, {}, "3 operators joined by +, but `blocks` is 2"),
        (("sdpa", "awr"), 1, {"dataset": "nowhere.txt"}, "no data set or file 'nowhere.txt'"),
    ],
)
def test_bad_input(
    config: TrainConfig, tmp_path: Path, variants: tuple[str, ...], seeds: int, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        plan(config.changed(**changes), variants, seeds, tmp_path / "c")
    assert message in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_a_folder_of_something_else_is_left_alone(finished: Comparison, config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        plan(config, VARIANTS, 1, tmp_path)
    with pytest.raises(InputError, match="is not a directory"):
        plan(config, VARIANTS, 1, tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"comparison with `lr=0\.001`, not 0\.1; choose another `out`"):
        plan(config.changed(lr=0.1), VARIANTS, 1, finished.path)
    other = tmp_path / "other.txt"
    other.write_text(Path(config.data.dataset).read_text().replace("i7\n", "i8\n"))
    assert load_interactions(str(other)).num_items
    with pytest.raises(InputError, match="runs on other data than"):
        plan(config.changed(dataset=str(other)), VARIANTS, 1, finished.path)
    with pytest.raises(InputError, match="is not a comparison"):
        open_comparison(tmp_path)
