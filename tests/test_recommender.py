"""Recommendations from a run directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from attnrec.core.errors import InputError, RunError
from attnrec.data.batches import batch_from_histories
from attnrec.recommender import load
from attnrec.training.config import TrainConfig
from attnrec.training.run import train


@pytest.fixture
def config(small_file: Path) -> TrainConfig:
    return TrainConfig.of(dataset=str(small_file), epochs=2, dim=8, max_len=10, cutoffs=(5,))


@pytest.fixture
def run(config: TrainConfig, tmp_path: Path) -> Path:
    train(config, tmp_path / "run")
    return tmp_path / "run"


def test_scores_are_the_models_and_seen_items_are_left_out(run: Path) -> None:
    recommender = load(run)
    history = ["i3", "i1", "i3"]
    found = recommender.recommend(history, top=1000)
    items = [item for item, _ in found]
    assert len(found) == 28
    assert set(items) == set(recommender.vocabulary.items) - {"i3", "i1"}
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    numbers = [recommender.item_numbers[item] for item in history]
    with torch.inference_mode():
        output = recommender.model.last_output(batch_from_histories([numbers], 10))[0]
        expected = (recommender.model.item_vectors @ output).tolist()
    for item, score in found:
        assert score == pytest.approx(expected[recommender.item_numbers[item]], abs=1e-5)
    everything = recommender.recommend(history, top=1000, include_seen=True)
    assert len(everything) == 30
    assert recommender.recommend(history, top=3) == found[:3]


def test_recommendations_and_evaluation_agree(run: Path, config: TrainConfig) -> None:
    """Hit@5 counted from `recommend` is the evaluator's."""
    from attnrec.data.load import load_interactions
    from attnrec.data.splits import leave_one_out

    recommender = load(run)
    data = load_interactions(config.data.dataset)
    hits = []
    for user in leave_one_out(data).users("test"):
        *shown, true = [data.item_ids[item - 1] for item in data.history(int(user))]
        if true in shown:
            continue
        hits.append(true in [item for item, _ in recommender.recommend(shown, top=5)])
    fresh = [
        true not in shown for *shown, true in (data.history(int(u)).tolist() for u in leave_one_out(data).users("test"))
    ]
    metrics = recommender.evaluate(cutoffs=(5,))
    repeated = len(fresh) - sum(fresh)
    assert sum(hits) <= metrics["full"]["Hit@5"] * len(fresh) + 1e-6 <= sum(hits) + repeated
    assert sum(hits) > 0


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "at least one item"),
        (["i1", "x9"], "does not know: 'x9'"),
        (["a", "b", "c", "d", "e", "f", "g"], "and 2 more"),
        ("i1 i2", "must be a list"),
    ],
    ids=str,
)
def test_bad_histories(run: Path, history: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(run).recommend(history)


def test_numbers_are_taken_as_ids(tmp_path: Path) -> None:
    path = tmp_path / "n.txt"
    path.write_text("".join(f"{u} {i}\n" for u in range(5) for i in range(u, u + 6)))
    train(TrainConfig.of(dataset=str(path), epochs=1, dim=4, cutoffs=(1,)), tmp_path / "run")
    recommender = load(tmp_path / "run")
    assert recommender.recommend([1, 2]) == recommender.recommend(["1", "2"])


def test_user_vectors_need_a_user(config: TrainConfig, tmp_path: Path) -> None:
    train(config.changed(user_vector=True), tmp_path / "run")
    recommender = load(tmp_path / "run")
    assert recommender.recommend(["i1"], user="u5") != recommender.recommend(["i1"], user="u6")
    with pytest.raises(InputError, match="give a user id as `user`"):
        recommender.recommend(["i1"])
    with pytest.raises(InputError, match="does not know the user 'nobody'"):
        recommender.recommend(["i1"], user="nobody")


def test_evaluate_repeats_the_summary(run: Path, config: TrainConfig, tmp_path: Path) -> None:
    recommender = load(run)
    summary = recommender.run.summary()
    assert summary is not None
    again = recommender.evaluate(cutoffs=(5, 10))
    for protocol in ("full", "sampled"):
        for metric, value in again[protocol].items():
            assert value == pytest.approx(summary["test"][protocol][metric])
    assert recommender.evaluate(part="valid", cutoffs=(5, 10))["full"] == pytest.approx(summary["valid"]["full"])
    other = tmp_path / "other.txt"
    other.write_text("a x\na y\na z\na w\n")
    with pytest.raises(InputError, match="is not the data that"):
        recommender.evaluate(dataset=str(other))


def test_segments_are_of_the_same_evaluation(run: Path) -> None:
    recommender = load(run)
    for part in ("valid", "test"):
        report = recommender.segments(part=part, cutoffs=(5, 10))
        assert report.metrics == recommender.evaluate(part=part, cutoffs=(5, 10))
        assert sum(segment.users for segment in report.by_history_length) == 38
    with pytest.raises(InputError, match="part 'train' is not one of"):
        recommender.segments(part="train")


def test_broken_runs(run: Path) -> None:
    with pytest.raises(InputError, match="there is no run directory"):
        load(run / "nowhere")
    with pytest.raises(InputError, match="is not a run directory"):
        load(run.parent)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_refused(run: Path, value: float) -> None:
    """One bad vector is enough, also of an item that is only a candidate."""
    model = load(run)
    with torch.no_grad():
        model.model.item_vectors[model.item_numbers["i9"]] = value
    for include_seen in (False, True):
        with pytest.raises(RunError, match="not finite"):
            model.recommend(["i1"], include_seen=include_seen)
    with pytest.raises(RunError, match="not finite"):
        model.evaluate(cutoffs=(5,))
