"""Timestamps on their way from the file to the operator, wherever the trunk runs; and data that has none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.analysis.attention_maps import slot_maps
from attnrec.attention import ATTENTION, SequenceContext, register_attention
from attnrec.attention.dense import DenseAttention
from attnrec.cli import main as entry
from attnrec.core.errors import InputError
from attnrec.data.batches import SequenceBatch, TrainingBatches, batch_from_histories, evaluation_batches
from attnrec.data.catalogue import Catalogue
from attnrec.data.interactions import DataError, Interactions
from attnrec.data.load import load_interactions
from attnrec.data.splits import leave_one_out
from attnrec.experiments.compare import plan
from attnrec.models.build import build_model
from attnrec.recommender import load
from attnrec.training.config import TrainConfig
from attnrec.training.run import train

TIMED = ("ti:max_interval=9", "hstu:time=true", "sdpa+ti")


@pytest.fixture
def timed_file(small: Interactions, tmp_path: Path) -> Path:
    """The small data as triples, latest first, with times that say whose they are and in which place."""
    path = tmp_path / "timed.txt"
    lines = [
        f"{small.user_ids[user]} {small.item_ids[item - 1]} {1.7e9 + 1e5 * user + 60 * place**2 + 0.25:.2f}\n"
        for user in range(small.num_users)
        for place, item in enumerate(small.history(user))
    ]
    path.write_text("".join(reversed(lines)))
    return path


def options(dataset: Path, attention: str = "ti:max_interval=9") -> TrainConfig:
    return TrainConfig.of(dataset=str(dataset), attention=attention, epochs=1, dim=8, max_len=10, cutoffs=(5,))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Times of the real slots of every batch that an operator named ``probe`` meets, one history after another."""
    monkeypatch.setattr(ATTENTION, "_registered", ATTENTION.registered())
    found: list[Tensor] = []

    @register_attention("probe")
    class Probe(DenseAttention):
        needs_timestamps = True

        def causal_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
            assert ctx.timestamps is not None
            assert ctx.timestamps.dtype == torch.float64
            assert not ctx.timestamps[~ctx.real()].any()
            found.append(ctx.timestamps[ctx.real()])
            return ctx.mask() / ctx.lengths.clamp(min=1)[:, None, None, None].to(q.dtype) + 0 * q @ k.transpose(-1, -2)

    return found


def check_rows(batch: SequenceBatch, data: Interactions) -> None:
    """Each history is a stretch of its user's own, and its times are those of its items."""
    assert batch.timestamps is not None
    assert data.timestamps is not None
    ends = np.cumsum(batch.lengths)
    for first, end in zip(ends - batch.lengths, ends, strict=True):
        user = int(batch.users[first])
        own = slice(data.offsets[user], data.offsets[user + 1])
        times, items = data.timestamps[own], data.items[own]
        place = int(np.searchsorted(times, float(batch.timestamps[first])))
        stretch = slice(place, place + int(end - first))
        assert times[stretch].tolist() == batch.timestamps[first:end].tolist()
        assert items[stretch].tolist() == batch.items[first:end].tolist()


def test_every_pass_of_the_trunk_has_the_times_of_its_items(timed_file: Path, seen: list[Tensor]) -> None:
    data = load_interactions(str(timed_file))
    split = leave_one_out(data)
    model = build_model(
        options(timed_file, "probe").model, Catalogue(data.num_items, data.num_users), torch.device("cpu"), "the data"
    )
    batches = list(TrainingBatches(split, 10, 7, seed=0).epoch(1))
    batches += [batch for part in ("valid", "test") for _, batch in evaluation_batches(split, part, 10, 16)]
    assert len(batches) > 8
    for batch in batches:
        check_rows(batch, data)
        moved = batch.to(torch.device("cpu"))
        for run in (model, model.attention_weights):
            seen.clear()
            run(moved)
            together = torch.cat(seen)
            assert len(together) % len(batch.items) == 0  # once or more for each of the two blocks
            for part in together.split(len(batch.items)):
                assert part.equal(batch.timestamps)


def test_a_trained_run_gets_times_in_use(timed_file: Path, seen: list[Tensor], tmp_path: Path) -> None:
    train(options(timed_file, "probe"), tmp_path / "run")
    recommender = load(tmp_path / "run")
    seen.clear()
    recommender.recommend(["i1", "i2", "i3"], timestamps=[5, 1.7e9, 1.7e9 + 0.25])
    assert [times.tolist() for times in seen] == [[5.0, 1.7e9, 1.7e9 + 0.25]] * 2
    seen.clear()
    recommender.recommend([f"i{number % 30 + 1}" for number in range(40)], timestamps=range(40))
    assert [times.tolist() for times in seen] == [[float(time) for time in range(30, 40)]] * 2
    seen.clear()
    slot_maps(recommender, slots=4)
    assert seen


@pytest.mark.parametrize("attention", TIMED)
def test_times_matter_to_a_model_that_uses_them(attention: str, timed_file: Path, tmp_path: Path) -> None:
    summary = train(options(timed_file, attention), tmp_path / "run")
    recommender = load(tmp_path / "run")
    assert recommender.evaluate(cutoffs=(5,))["full"]["NDCG@5"] == pytest.approx(summary["test"]["full"]["NDCG@5"])
    history = ["i1", "i2", "i3", "i4"]
    even = dict(recommender.recommend(history, top=26, timestamps=[0, 1e5, 2e5, 3e5]))
    late = dict(recommender.recommend(history, top=26, timestamps=[0, 1e5, 2e5, 9e5]))
    assert max(abs(even[item] - late[item]) for item in even) > 1e-5


@pytest.mark.parametrize("attention", TIMED)
def test_data_without_times_is_refused_before_anything_is_written(
    attention: str, small_file: Path, tmp_path: Path
) -> None:
    config = options(small_file, attention)
    with pytest.raises(InputError, match=r"needs timestamps, and .*small\.txt has none"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"needs timestamps, and .*small\.txt has none"):
        plan(config, ["sdpa", attention], 1, tmp_path / "comparison")
    assert not (tmp_path / "comparison").exists()


def test_a_history_without_times_is_refused(timed_file: Path, small_file: Path, tmp_path: Path) -> None:
    train(options(timed_file), tmp_path / "run")
    recommender = load(tmp_path / "run")
    with pytest.raises(
        InputError, match="trained with `attention='ti:max_interval=9'`, which needs timestamps: one for"
    ):
        recommender.recommend(["i1", "i2"])
    with pytest.raises(InputError, match=r"which needs timestamps, and .*small\.txt has none"):
        recommender.evaluate(dataset=str(small_file))


def test_the_command_line_says_so_in_one_line(
    small_file: Path,
    timed_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(options(timed_file), tmp_path / "timed-run")
    for arguments in (
        ["train", "--attention", "ti", "--dataset", str(small_file), "--out", str(tmp_path / "run")],
        ["recommend", str(tmp_path / "timed-run"), "--history", "i1 i2"],
    ):
        monkeypatch.setattr(sys, "argv", ["attnrec", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry.main()
        message = capsys.readouterr().err
        assert stopped.value.code == 2
        assert "needs timestamps" in " ".join(message.split())
        assert "Traceback" not in message


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1.0], "a history of 2 items needs 2 timestamps, not 1"),
        ([1.0, float("nan")], "timestamps must be finite numbers"),
        ([2.0, 1.0], "timestamps must not decrease"),
    ],
)
def test_bad_times_of_a_history(times: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        batch_from_histories([[1, 2]], 10, [times])
