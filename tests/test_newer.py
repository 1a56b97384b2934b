"""A run on newer data: evaluated, and trained further."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attnrec
from attnrec.core.errors import InputError
from attnrec.data.load import load_interactions
from attnrec.data.splits import leave_one_out, make_split
from attnrec.recommender import load
from attnrec.starters import operator
from attnrec.training import loop
from attnrec.training.config import TrainConfig
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from tests.conftest import real_file
from tests.training.test_training import StopAt

Row = tuple[str, str, int]


def written(path: Path, rows: list[Row]) -> Path:
    path.write_text("user item time\n" + "".join(f"{user} {item} {time}\n" for user, item, time in rows))
    return path


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """30 users with 4 to 9 interactions at times 0 to 999, and 10 more who come after 700."""
    rng = np.random.default_rng(5)
    found = []
    for user in range(40):
        for time in sorted(rng.choice(np.arange(0 if user < 30 else 700, 1000), rng.integers(4, 10), replace=False)):
            item = int(rng.integers(0, 25 if time >= 700 else 20))  # items 20 to 24 come late
            found.append((f"u{user}", f"i{item}", int(time)))
    return found


@pytest.fixture
def old(rows: list[Row], tmp_path: Path) -> Path:
    return written(tmp_path / "old.txt", [row for row in rows if row[2] < 700])


@pytest.fixture
def newer(rows: list[Row], tmp_path: Path) -> Path:
    return written(tmp_path / "newer.txt", rows)


@pytest.fixture
def config(old: Path) -> TrainConfig:
    return TrainConfig.of(
        dataset=str(old), epochs=3, dim=8, max_len=10, batch_size=8, lr=0.01, cutoffs=(5,), eval_every=1
    )


@pytest.fixture
def run(config: TrainConfig, tmp_path: Path) -> Path:
    train(config, tmp_path / "run")
    return tmp_path / "run"


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def test_evaluation_on_newer_data(run: Path, rows: list[Row], newer: Path) -> None:
    """Everything that is counted, and Hit@5, from a loop over the rows."""
    recommender = load(run)
    known = set(recommender.vocabulary.items)
    hits, unknown, alone = [], 0, 0
    for user in {row[0]: None for row in rows}:
        own = [row for row in rows if row[0] == user]
        before, after = [row for row in own if row[2] < 700], [row for row in own if row[2] >= 700]
        if not (before and after):
            continue
        history, target = [row[1] for row in before if row[1] in known], after[0][1]
        if not history:
            alone += 1
        elif target not in known:
            unknown += 1
        else:
            ranked = recommender.recommend(history, top=100, include_seen=True)
            shown = [item for item, _ in ranked if item == target or item not in history]
            hits.append(target in shown[:5])
    found = recommender.evaluate(
        dataset=str(newer), newer=True, cutoffs=(5,), split="time", valid_from="600", test_from="700"
    )
    assert found["full"]["Hit@5"] == pytest.approx(np.mean(hits))
    assert found["split"]["test"]["users"] == len(hits)
    assert found["left_out"]["interactions"] == sum(row[1] not in known for row in rows)
    assert found["left_out"]["items"] == len({row[1] for row in rows} - known)
    assert found["left_out"]["histories"]["test"] == alone
    assert found["unknown_targets"]["number"] == unknown > 0
    assert found["unknown_targets"]["as_misses"]["full"]["Hit@5"] == pytest.approx(sum(hits) / (len(hits) + unknown))
    report = recommender.segments(
        dataset=str(newer), newer=True, cutoffs=(5,), split="time", valid_from="600", test_from="700"
    )
    assert report.metrics == found
    whole = recommender.evaluate(dataset=str(newer), newer=True, cutoffs=(5,))
    assert whole["split"]["kind"] == "leave-one-out"
    targets = leave_one_out(load_interactions(str(newer)))
    assert whole["split"]["test"]["users"] + whole["unknown_targets"]["number"] == len(targets.users("test"))


def test_the_same_data_are_newer_data_too(run: Path, old: Path) -> None:
    recommender = load(run)
    found = recommender.evaluate(dataset=str(old), newer=True, cutoffs=(5,))
    again = recommender.evaluate(cutoffs=(5,))
    assert {name: found[name] for name in again} == again
    assert found["left_out"]["interactions"] == found["unknown_targets"]["number"] == 0


def test_what_is_refused_on_newer_data(run: Path, config: TrainConfig, newer: Path, tmp_path: Path) -> None:
    recommender = load(run)
    for options, message in (
        ({}, "is not the data that .* was trained on; to evaluate it on newer data, give `newer=True`"),
        ({"split": "time"}, "`split` needs `newer`"),
        ({"newer": True, "test_from": "700"}, "`valid_from` and `test_from` need `split='time'`"),
        ({"newer": True, "seed": "3"}, "unknown option 'seed'"),
        ({"newer": True, "split": "times"}, "`split` 'times' is not one of"),
    ):
        with pytest.raises(InputError, match=message):
            recommender.evaluate(dataset=str(newer), **options)
    train(config.changed(user_vector=True, epochs=1), tmp_path / "users")
    with pytest.raises(InputError, match=r"newer has 10 users that the model does not know, such as 'u3\d'"):
        load(tmp_path / "users").evaluate(dataset=str(newer), newer=True)


def test_training_further(run: Path, old: Path, newer: Path, tmp_path: Path) -> None:
    before = contents(run)
    summary = attnrec.train(
        start_from=str(run), dataset=str(newer), out=tmp_path / "further", epochs=2, lr=1e-12, cutoffs=[5]
    )
    assert contents(run) == before
    known = set(load(run).vocabulary.items)
    assert summary["start_from"] == str(run.resolve())
    assert summary["left_out"]["items"] == len({f"i{n}" for n in range(20, 25)} - known) > 0
    further = RunDirectory(tmp_path / "further")
    assert further.vocabulary().items == RunDirectory(run).vocabulary().items
    assert further.config().model.dim == 8
    # at so small a rate the weights stay what they were
    for name, tensor in RunDirectory(run).weights().items():
        torch.testing.assert_close(further.weights()[name], tensor, rtol=0, atol=1e-9)
    # so both runs rank the newer data alike, and the new one's own evaluation is that of the old one on newer data
    one = load(run).evaluate(dataset=str(newer), newer=True, cutoffs=(5,))
    other = load(further.path).evaluate(cutoffs=(5,))
    assert other["full"] == pytest.approx(one["full"])
    assert summary["test"]["full"]["NDCG@5"] == pytest.approx(one["full"]["NDCG@5"])
    assert (
        other["unknown_targets"]["number"] == one["unknown_targets"]["number"] == summary["unknown_targets"]["number"]
    )
    # and it can be used when the old run is gone
    run.rename(tmp_path / "elsewhere")
    assert load(further.path).evaluate(cutoffs=(5,)) == other


def test_items_of_the_first_training_are_not_unseen_in_the_second(tmp_path: Path) -> None:
    """c is in the first training alone, d in the second alone, e in neither."""
    first = [(u, i, t) for u in ("u", "v") for t, i in enumerate("abcabde")]
    second = [(u, i, t) for u in ("u", "v") for t, i in enumerate("abdabec")]
    options: dict[str, Any] = {"epochs": 1, "dim": 4, "cutoffs": [1]}
    train(TrainConfig.from_mapping(options | {"dataset": str(written(tmp_path / "1.txt", first))}), tmp_path / "first")
    assert RunDirectory(tmp_path / "first").vocabulary().untrained == ("d", "e")
    summary = attnrec.train(
        start_from=str(tmp_path / "first"),
        dataset=str(written(tmp_path / "2.txt", second)),
        out=tmp_path / "second",
        **options,
    )
    assert RunDirectory(tmp_path / "second").vocabulary().untrained == ("e",)
    assert summary["unseen_targets"]["number"] == 0
    assert load(tmp_path / "second").evaluate(part="valid", cutoffs=(1,))["unseen_targets"]["number"] == 2


def test_training_further_can_be_resumed(
    run: Path, newer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_FLUSH_EVERY", 1)
    config = RunDirectory(run).config().changed(dataset=str(newer), start_from=str(run), split="time", loss="bce")
    whole = train(config, tmp_path / "whole")
    stopped = train(config, tmp_path / "stopped", StopAt(2, 1))
    assert stopped["interrupted"]
    run.rename(tmp_path / "elsewhere")
    resumed = train(RunDirectory(tmp_path / "stopped").config(), tmp_path / "stopped", resume=True)
    for key in ("epochs", "grad_norm", "best_epoch", "valid", "test", "split", "left_out", "unseen_targets"):
        assert resumed[key] == whole[key], key
    for name, tensor in RunDirectory(tmp_path / "whole").weights().items():
        assert tensor.equal(RunDirectory(tmp_path / "stopped").weights()[name])


def test_a_variant_of_ones_own_is_the_one_that_the_run_kept(config: TrainConfig, newer: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    source = Path(operator.__file__).read_text()
    own.write_text(source)
    train(config.changed(attention=f"{own}", epochs=1), tmp_path / "run")
    own.write_text("nothing of use")
    summary = attnrec.train(start_from=str(tmp_path / "run"), dataset=str(newer), out=tmp_path / "further", epochs=1)
    assert summary["attention"] == f"{own}"
    assert (tmp_path / "further/variants/own.py").read_text() == source
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert load(tmp_path / "further").evaluate(cutoffs=(5,))["full"]["NDCG@5"] >= 0


def test_user_vectors_stay_with_their_users(config: TrainConfig, rows: list[Row], newer: Path, tmp_path: Path) -> None:
    train(config.changed(user_vector=True, epochs=1), tmp_path / "run")
    shuffled = [row for row in rows if int(row[0][1:]) < 30][::-1]  # other numbers for the same users
    data = written(tmp_path / "shuffled.txt", shuffled)
    further = attnrec.train(
        start_from=str(tmp_path / "run"), dataset=str(data), out=tmp_path / "further", epochs=1, lr=1e-12
    )
    assert RunDirectory(tmp_path / "further").vocabulary().users == RunDirectory(tmp_path / "run").vocabulary().users
    found = load(tmp_path / "run").evaluate(dataset=str(data), newer=True, cutoffs=(10,))
    assert further["test"]["full"]["NDCG@10"] == pytest.approx(found["full"]["NDCG@10"])
    with pytest.raises(InputError, match="has 10 users that the model does not know"):
        attnrec.train(start_from=str(tmp_path / "run"), dataset=str(newer), out=tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_what_cannot_be_started_from(run: Path, newer: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"start_from": str(run), "dataset": str(newer), "out": tmp_path / "further"}
    for options, message in (
        ({"dim": 16}, "`start_from`: the run's model has `dim=8`, not 16"),
        ({"attention": "alibi"}, "`start_from`: the run's model has `attention='sdpa'`, not alibi"),
        ({"start_from": str(tmp_path / "nowhere")}, "there is no run directory"),
        ({"config": TrainConfig.of(max_len=20)}, "the run's model has `max_len=10`, not 20"),
        ({"out": run}, "already holds a run"),
    ):
        with pytest.raises(InputError, match=message):
            attnrec.train(**given | options)
    with pytest.raises(InputError, match="a shuffle test trains from scratch"):
        attnrec.shuffle_test(**{name: value for name, value in given.items() if name != "out"})
    with pytest.raises(InputError, match="a comparison trains from scratch"):
        attnrec.compare(["sdpa", "alibi"], **given)
    assert not (tmp_path / "further").exists()


def test_a_preset_leaves_the_model_to_the_run(run: Path, newer: Path, tmp_path: Path) -> None:
    attnrec.train(
        start_from=str(run), dataset=str(newer), out=tmp_path / "further", preset="strong", epochs=1, cutoffs=[5]
    )
    found = RunDirectory(tmp_path / "further").config()
    assert (found.model.dim, found.training.batch_size) == (8, 256)


def test_a_split_by_time_trains_and_is_recorded(config: TrainConfig, newer: Path, tmp_path: Path) -> None:
    config = config.changed(dataset=str(newer), split="time", loss="bce")
    data = load_interactions(str(newer))
    summary = train(config, tmp_path / "run")
    split = make_split(data, "time")
    assert summary["split"] == json.loads(json.dumps(split.description()))
    assert len(RunDirectory(tmp_path / "run").test_ranks().full.above) == len(split.users("test"))
    recommender = load(tmp_path / "run")
    assert recommender.evaluate(cutoffs=(5,))["full"]["NDCG@5"] == pytest.approx(summary["test"]["full"]["NDCG@5"])
    of_valid = recommender.evaluate(part="valid", cutoffs=(5,))["full"]["NDCG@5"]
    assert of_valid == pytest.approx(summary["valid"]["full"]["NDCG@5"])
    assert attnrec.plot(tmp_path / "run", attention_map=True)
    # negatives are drawn from all that training does not know, held-out items too
    trainer = Trainer(config, RunDirectory(tmp_path / "unused"), data, Observer())
    drawn: set[tuple[int, int]] = set()
    for epoch in range(10):
        for batch in trainer.batches.epoch(epoch):
            found = trainer.objective.unseen.draw(batch.users[:, None], (len(batch.users), 3), trainer.generator)
            drawn |= {
                (user, item) for user, of in zip(batch.users.tolist(), found.tolist(), strict=True) for item in of
            }
    lengths = split.train_lengths
    trained = {(user, int(item)) for user in range(40) for item in data.history(user)[: lengths[user]]}
    held_out = {(user, int(item)) for user in range(40) for item in data.history(user)[lengths[user] :]} - trained
    assert not drawn & trained
    assert drawn & held_out


def test_other_times_are_other_data(config: TrainConfig, newer: Path, rows: list[Row], tmp_path: Path) -> None:
    """The items and their order are the same, but what is held out is not."""
    config = config.changed(dataset=str(newer), split="time", valid_from="600", test_from="800", epochs=1)
    train(config, tmp_path / "run")
    assert load(tmp_path / "run").evaluate(cutoffs=(5,))
    written(newer, [(user, item, time + 100) for user, item, time in rows])
    with pytest.raises(InputError, match="is not the data that"):
        load(tmp_path / "run").evaluate(cutoffs=(5,))
    with pytest.raises(InputError, match="has changed since"):
        train(config.changed(epochs=2), tmp_path / "run", resume=True)


def test_the_best_possible_score_is_known_of_leave_one_out_alone(tmp_path: Path) -> None:
    config = TrainConfig.of(epochs=1, dim=4, blocks=0, split="time", batch_size=512)
    assert train(config, tmp_path / "run")["best_possible_ndcg10"] is None


def test_auto_is_resolved_in_the_run(run: Path) -> None:
    assert RunDirectory(run).config().data.split == "leave-one-out"
    assert 'split = "leave-one-out"' in (run / "config.toml").read_text()


@pytest.mark.real_data
def test_the_first_users_of_beauty_and_then_all(tmp_path: Path) -> None:
    lines = real_file("beauty-5core.txt").read_text().splitlines(keepends=True)
    for name, part in (("old", lines[:3000]), ("newer", lines[:4000])):
        (tmp_path / f"{name}.txt").write_text("".join(part))
    train(
        TrainConfig.of(dataset=str(tmp_path / "old.txt"), epochs=1, dim=16, batch_size=256, loss="bce"),
        tmp_path / "run",
    )
    recommender = load(tmp_path / "run")
    found = recommender.evaluate(dataset=str(tmp_path / "newer.txt"), newer=True)
    old, newer = ([line.split()[1:] for line in part] for part in (lines[:3000], lines[:4000]))
    known = {item for history in old for item in history}
    assert found["left_out"]["interactions"] == sum(item not in known for history in newer for item in history)
    asked = [history for history in newer if set(history[:-1]) & known]
    assert found["unknown_targets"]["number"] == sum(history[-1] not in known for history in asked) > 0
    trained = {item for history in old for item in history[:-2]}
    assert found["unseen_targets"]["number"] == sum(history[-1] in known - trained for history in asked)


def test_the_parts_of_the_data_are_what_auto_trains_on(newer: Path, config: TrainConfig, tmp_path: Path) -> None:
    data = load_interactions(str(newer))
    assert data.timestamps is not None
    parts = np.digitize(data.timestamps, [600, 800]).astype(np.int8)
    trainer = Trainer(config, RunDirectory(tmp_path / "unused"), replace(data, parts=parts), Observer())
    assert trainer.split.kind == "given"
    assert trainer.split.fingerprint == make_split(data, "time", "600", "800").fingerprint
    for batch in trainer.batches.epoch(1):
        assert batch.timestamps is not None
        assert float(batch.timestamps.max()) < 600
