"""Warnings of a run and of a comparison, on runs written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attnrec.core.spec import Specs
from attnrec.data.load import fingerprint, load_interactions
from attnrec.evaluation.metrics import Ranks
from attnrec.evaluation.ranking import Evaluation
from attnrec.experiments.compare import Comparison
from attnrec.experiments.known_rows import KNOWN_ROWS, known_row
from attnrec.experiments.warnings import BEST_IS_LAST, STILL_RISING, comparison_warnings, run_warnings, still_rising
from attnrec.training.config import TrainConfig
from attnrec.training.run_directory import RunDirectory, Vocabulary
from attnrec.training.writer import RunWriter
from tests.conftest import real_file

RISING = [0.1 - 0.1 * 0.9**k for k in range(20)]
LEVEL = [0.1, 0.12, 0.11, 0.12, 0.115, 0.11, 0.118, 0.112, 0.119, 0.116]
BEAUTY = "84cbc198"
BCE = TrainConfig.of(loss="bce")


def written(run: RunDirectory, config: TrainConfig, scores: Sequence[float], **summary: Any) -> RunDirectory:
    """A finished run as far as the warnings read it."""
    values = {"interrupted": False, "stopped_early": False, "best_epoch": int(np.argmax(scores)) + 1}
    values |= {"data_fingerprint": BEAUTY, "device": "cpu"} | summary
    ranks = Ranks(torch.zeros(1), torch.zeros(1))
    with RunWriter.create(run.path, config, Vocabulary(("i1",)), {}, "") as writer:
        for epoch, score in enumerate(scores, 1):
            writer.log.write({"epoch": epoch, "valid": {"full": {"NDCG@10": score}}})
        writer.snapshot(1, b"", b"")
        writer.finish(b"", Evaluation(ranks, ranks), values)
    return RunDirectory(run.path)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (RISING, [BEST_IS_LAST, STILL_RISING]),
        ([*RISING[:-1], 0.08], [STILL_RISING]),
        (LEVEL, []),
        ([*LEVEL, 0.1205], [BEST_IS_LAST]),  # by less than 1 %
        ([0.1], [BEST_IS_LAST]),
        ([0.1, 0.2], [BEST_IS_LAST]),  # too few to say more
    ],
)
def test_of_a_run(tmp_path: Path, scores: list[float], expected: list[str]) -> None:
    assert run_warnings(written(RunDirectory(tmp_path / "run"), TrainConfig(), scores)) == expected


def test_a_run_out_of_patience_has_stopped_rising(tmp_path: Path) -> None:
    scores = [*RISING, *[0.087] * 3]
    assert run_warnings(written(RunDirectory(tmp_path / "patient"), TrainConfig(), scores)) == [STILL_RISING]
    assert not run_warnings(written(RunDirectory(tmp_path / "run"), TrainConfig(), scores, stopped_early=True))


def test_chance_around_a_level_seldom_reads_as_rising() -> None:
    generator = np.random.default_rng(0)
    rate = np.mean([still_rising((0.1 + 0.01 * generator.standard_normal(20)).tolist()) for _ in range(1000)])
    assert rate < 0.1


@pytest.mark.parametrize("length", [10, 20, 50])
def test_a_rise_among_noise_reads_as_rising(length: int) -> None:
    generator = np.random.default_rng(0)
    rise = np.linspace(0.05, 0.1, length)
    noise = 0.05 / 25  # of an evaluation; the last fifth rises five times as much
    rate = np.mean([still_rising((rise + noise * generator.standard_normal(length)).tolist()) for _ in range(300)])
    assert rate > 0.9


# -- comparisons -------------------------------------------------------------------------------------------


def compared(
    path: Path, runs: dict[tuple[str, int], tuple[TrainConfig, list[float]]], plan: TrainConfig | None = None
) -> Comparison:
    """A comparison with these runs; its plan is that of the first one unless it is given."""
    variants, seeds = (tuple(dict.fromkeys(key)) for key in zip(*runs, strict=True))
    plan = plan or next(iter(runs.values()))[0]
    comparison = Comparison(path, plan, {variant: {"attention": Specs.parse(variant)} for variant in variants}, seeds)
    for (variant, seed), (config, scores) in runs.items():
        written(comparison.run(variant, seed), config.changed(attention=variant, seed=seed), scores)
    return comparison


GOOD = {"full": 0.04, "sampled": 0.3}  # NDCG@10 of a baseline that is fully trained


def test_a_line_a_kind(tmp_path: Path) -> None:
    config = BCE
    runs = {("sdpa", 0): RISING, ("awr", 0): LEVEL, ("sdpa", 1): RISING, ("awr", 1): [0.1, 0.2]}
    comparison = compared(tmp_path, {run: (config, scores) for run, scores in runs.items()})
    assert comparison_warnings(comparison, GOOD) == [
        f"{BEST_IS_LAST}: sdpa (seeds 0, 1), awr (seed 1)",
        f"{STILL_RISING}: sdpa (seeds 0, 1)",
    ]


def test_options_that_differ(tmp_path: Path) -> None:
    config = BCE.changed(epochs=40)
    runs = {("sdpa", 0): config, ("awr", 0): config, ("sdpa", 1): config, ("awr", 1): config.changed(epochs=80)}
    comparison = compared(tmp_path, {run: (options, LEVEL) for run, options in runs.items()})
    assert comparison_warnings(comparison, GOOD) == [
        "the runs compared differ in `epochs`: 40 for sdpa (seeds 0, 1), awr (seed 0); 80 for awr (seed 1)"
    ]


def test_a_plan_that_no_run_was_trained_with(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {("sdpa", 0): (BCE, LEVEL), ("awr", 0): (BCE, LEVEL)}, BCE.changed(lr=0.5))
    assert comparison_warnings(comparison, GOOD) == ["comparison.toml says `lr=0.5`, but no run was trained with it"]


def test_stopping_at_different_epochs_and_paths_is_no_difference(tmp_path: Path) -> None:
    elsewhere = BCE.changed(dataset="elsewhere.txt", device="cpu")
    comparison = compared(tmp_path, {("sdpa", 0): (BCE, LEVEL), ("awr", 0): (elsewhere, LEVEL[:6])})
    assert comparison_warnings(comparison, GOOD) == []


def test_a_baseline_below_what_is_published(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {("sdpa", 0): (BCE, LEVEL)})
    (line,) = comparison_warnings(comparison, GOOD | {"full": 0.0221})
    assert line.startswith("the baseline sdpa reaches 0.0221 (full ranking NDCG@10), below the 0.0354 that RecBoard")
    assert "it may not be fully trained, and a difference from it shows little" in line
    assert comparison_warnings(comparison, GOOD | {"full": 0.0345}) == []  # within what seeds vary
    assert comparison_warnings(comparison, {}) == []  # no run of the first variant is finished
    changed: list[dict[str, Any]] = [{"negatives": 4}, {"loss": "gbce"}]
    for changes in changed:
        found = comparison_warnings(replace(comparison, config=BCE.changed(**changes)), GOOD | {"full": 0.0221})
        assert not any(line.startswith("the baseline") for line in found)


# -- known rows --------------------------------------------------------------------------------------------


def test_the_lowest_of_several_rows_counts() -> None:
    games = next(row.fingerprint for row in KNOWN_ROWS if row.data == "Games")
    row = known_row(games, "bce", 1, "sampled")
    assert row is not None
    assert row.ndcg10 == 0.5308
    assert known_row(games, "bce", 1, "full") is None
    assert known_row("00000000", "bce", 1, "full") is None


def test_the_rows_are_well_formed() -> None:
    for row in KNOWN_ROWS:
        assert row.protocol in ("full", "sampled")
        assert TrainConfig.of(loss=row.loss).training.loss == row.loss
        assert 0 < row.ndcg10 < 1
    keys = [(row.fingerprint, row.loss, row.protocol, row.source) for row in KNOWN_ROWS]
    assert len(set(keys)) == len(keys)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("beauty-5core.txt", "Beauty 5-core"),
        ("sports-5core.txt", "Sports 5-core"),
        ("ml-1m.txt", "ML-1M"),
        ("games.txt", "Games"),
    ],
)
def test_the_fingerprints_are_those_of_the_files(file: str, data: str) -> None:
    found = fingerprint(load_interactions(str(real_file(file))))
    assert {row.fingerprint for row in KNOWN_ROWS if row.data == data} == {found}
