"""A step whose loss or gradient is not finite: kept, repeated, left out, and gone on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import attnrec
from attnrec.core.errors import InputError
from attnrec.training.config import TrainConfig
from attnrec.training.loop import Trainer
from attnrec.training.nonfinite import NotFinite
from attnrec.training.observer import Observer
from attnrec.training.run import replay, train
from attnrec.training.run_directory import RunDirectory
from attnrec.training.tensors import from_bytes


@pytest.fixture
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading and a snapshot at every step."""
    monkeypatch.setattr("attnrec.training.loop._FLUSH_EVERY", 1)
    monkeypatch.setattr("attnrec.training.loop._SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("attnrec.training.loop._SNAPSHOT_SHARE", float("inf"))


@pytest.fixture
def config(small_file: Path) -> TrainConfig:
    """Five steps an epoch."""
    return TrainConfig.of(
        dataset=str(small_file), epochs=6, batch_size=8, dim=8, blocks=1, max_len=10, eval_every=2, cutoffs=(5,)
    )


class Poison(Observer):
    """Makes the loss of some steps infinite; with ``once`` only the first time that they are met."""

    def __init__(self, *steps: int, once: bool = False) -> None:
        self.steps, self.once = set(steps), once

    def started(self, trainer: Trainer) -> None:
        usual = trainer.objective

        def objective(*arguments: Any) -> torch.Tensor:
            loss, step = usual(*arguments), trainer.steps_done + 1
            poisoned = step in self.steps
            if self.once:
                self.steps.discard(step)
            return loss * float("inf") if poisoned else loss

        trainer.objective = objective  # type: ignore[assignment]


def diverged(config: TrainConfig, run: Path) -> NotFinite:
    with pytest.raises(NotFinite) as caught:
        train(config.changed(lr=1e30), run)
    return caught.value


def test_the_step_is_kept_and_repeated(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    error = diverged(config, run)
    assert f"`attnrec train` with `replay='{run}'` shows the step by layer" in str(error)
    found = replay(run)
    assert found.step == error.step == 2
    assert found.epoch == 1
    assert found.users == 8
    assert found.first in str(error)
    assert "output of" in found.first
    tensors, values = from_bytes(RunDirectory.open(run).nonfinite())
    assert len(tensors["batch/lengths"]) == 8
    assert values["what"].startswith("the loss is nan at step 2")
    layers = {layer.name: layer for layer in found.layers}
    assert layers["item_embedding"].parameters is not None
    assert layers["item_embedding"].parameters.largest == pytest.approx(1e30)
    assert not layers["item_embedding"].parameters.not_finite
    assert json.loads(json.dumps(found.to_mapping(), allow_nan=False))["loss"] is None
    assert str(replay(run)) == str(found)


def test_the_figures_of_a_layer_are_right(config: TrainConfig, tmp_path: Path) -> None:
    """Against the parameters and gradients themselves, at a step that is found again in the middle of an epoch."""
    run = tmp_path / "run"
    with pytest.raises(NotFinite) as caught:
        train(config.changed(epochs=2), run, Poison(7, once=True))
    assert caught.value.step == 7
    tensors, _ = from_bytes(RunDirectory.open(run).nonfinite())
    found = replay(run)
    assert (found.step, found.epoch, found.first) == (7, 2, "")  # the poison is not there any more
    layer = {own.name: own for own in found.layers}["trunk.0.mixer.qkv"]
    values = torch.cat([tensors[f"model/trunk.0.mixer.qkv.{name}"].reshape(-1).double() for name in ("weight", "bias")])
    assert layer.parameters is not None
    assert layer.parameters.largest == pytest.approx(float(values.abs().max()))
    assert layer.parameters.rms == pytest.approx(float(values.square().mean().sqrt()))
    assert layer.parameters.elements == len(values)


def test_a_diverged_run_goes_on_with_another_rate(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    diverged(config, run)
    with pytest.raises(NotFinite):
        attnrec.train(out=run, resume=True)
    summary = attnrec.train(out=run, resume=True, lr=0.01)
    assert not summary["interrupted"]
    assert RunDirectory.open(run).config().training.lr == 0.01
    assert not (run / "nonfinite.safetensors").exists()
    lines = [line["step"] for line in RunDirectory.open(run).log() if "loss" in line]
    assert lines == list(range(1, 31))
    with pytest.raises(InputError, match="no step to replay"):
        replay(run)
    with pytest.raises(InputError, match=r"was started with `lr=0\.01`, not 0\.1; only"):
        attnrec.train(out=run, resume=True, lr=0.1)


def test_a_diverged_run_is_started_again_in_its_folder(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    diverged(config, run)
    (run / "notes.txt").write_text("mine")
    kept = (run / "nonfinite.safetensors").read_bytes()
    train(config, run)
    assert not RunDirectory.open(run).problems()
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "diverged-1" / "nonfinite.safetensors").read_bytes() == kept
    assert not RunDirectory.open(run / "diverged-1").problems()


def test_starting_again_may_fail_and_be_tried_again(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    diverged(config, run)
    (run / "notes.txt").write_text("mine")

    class Failing(Observer):
        def started(self, trainer: Trainer) -> None:
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train(config, run, Failing())
    assert {path.name for path in run.iterdir()} == {"notes.txt", "diverged-1"}
    assert train(config, run)["best_epoch"]


def test_a_variant_changed_after_a_divergence_is_used(config: TrainConfig, tmp_path: Path) -> None:
    """What is started again in the folder is built from the file as it is, not as the run that diverged had it."""
    text = (
        "from attnrec.attention import AttentionOperator\n"
        "class Mine(AttentionOperator):\n"
        "    scale = float('nan')\n"
        "    def weights(self, q, k, ctx): return 0 * (q @ k.transpose(-1, -2))\n"
        "    def forward(self, q, k, v, ctx): return v * self.scale\n"
    )
    path, run = tmp_path / "mine.py", tmp_path / "run"
    path.write_text(text)
    own = config.changed(attention=str(path))
    with pytest.raises(NotFinite):
        train(own, run)
    path.write_text(text.replace("float('nan')", "0.01"))
    assert train(own, run)["best_epoch"]
    assert b"0.01" in (run / "variants" / "mine.py").read_bytes()


def test_a_divergence_that_cannot_be_kept(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another rate, or a new start, is still possible."""
    monkeypatch.setattr("attnrec.training.nonfinite._find_step", lambda *arguments: None)
    diverged(config, tmp_path / "run")
    with pytest.raises(InputError, match="no step to replay"):
        replay(tmp_path / "run")
    assert attnrec.train(out=tmp_path / "run", resume=True, lr=0.01)["best_epoch"]
    diverged(config, tmp_path / "other")
    assert train(config, tmp_path / "other")["best_epoch"]


@pytest.mark.usefixtures("_every_step")
def test_a_best_model_from_before_can_be_used(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(NotFinite):
        train(config, run, Poison(23))
    best = attnrec.load(run).recommend(["i1"])
    shutil.copytree(run, tmp_path / "resumed")
    before = json.loads((tmp_path / "resumed" / "manifest.json").read_text())["snapshots"][0]["weights"]["sha256"]
    summary = attnrec.train(out=tmp_path / "resumed", resume=True, lr=1e-12)
    assert before in (tmp_path / "resumed" / "manifest.json").read_text()  # nothing better came, so it is still there
    assert summary["best_epoch"] <= 4
    train(config, run)
    assert attnrec.load(run / "diverged-1").recommend(["i1"]) == best


def test_the_log_until_then_is_kept(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(NotFinite):
        train(config, tmp_path / "run", Poison(9))
    steps = [line["step"] for line in RunDirectory.open(tmp_path / "run").log()]
    assert steps == list(range(1, 9))


def test_steps_may_be_left_out(config: TrainConfig, tmp_path: Path) -> None:
    summary = train(config.changed(skip_nonfinite=2), tmp_path / "run", Poison(3, 9))
    assert summary["skipped_steps"] == 2
    lines = [line for line in RunDirectory.open(tmp_path / "run").log() if "step" in line]
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert [line["step"] for line in lines if "skipped" in line] == [3, 9]
    assert lines[2] == {"step": 3, "epoch": 1, "skipped": "loss not finite"}
    assert attnrec.plot(tmp_path / "run")


def test_no_more_are_left_out_than_asked_for(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(NotFinite) as caught:
        train(config.changed(skip_nonfinite=2), tmp_path / "run", Poison(3, 9, 11))
    assert caught.value.step == 11


def test_a_step_left_out_changes_nothing(config: TrainConfig, tmp_path: Path) -> None:
    """All steps left out: the weights are those of the start."""
    settings = config.changed(epochs=1, skip_nonfinite=5, eval_every=1)
    train(settings, tmp_path / "run", Poison(1, 2, 3, 4, 5))
    data = attnrec.load(tmp_path / "run").interactions()
    trainer = Trainer(settings, RunDirectory(tmp_path / "none"), data, Observer())
    for name, tensor in RunDirectory.open(tmp_path / "run").weights().items():
        assert tensor.equal(trainer.model.state_dict()[name])
