"""Whole trainings on small data: what is learned, logged, stopped, resumed, and refused."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import attnrec
from attnrec.core.errors import InputError, RunError
from attnrec.data.load import load_interactions
from attnrec.training import loop
from attnrec.training.config import TrainConfig
from attnrec.training.gradients import global_gradient_norm
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from attnrec.training.tensors import from_bytes


@pytest.fixture
def config(small_file: Path) -> TrainConfig:
    return TrainConfig.of(
        dataset=str(small_file),
        loss="bce",
        epochs=6,
        batch_size=8,
        dim=8,
        max_len=10,
        lr=0.01,
        eval_every=2,
        cutoffs=(1, 5, 10),
    )


def log_lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def state(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of the last snapshot: weights, the optimizer's, generators."""
    return from_bytes(next(RunDirectory(run).snapshots())[1])[0]


class StopAt(Observer):
    """Sends the signal of Ctrl-C at a step."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def stepped(self, trainer: Trainer) -> None:
        if (trainer.progress.epoch, trainer.progress.step) == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def _read_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_FLUSH_EVERY", 1)


def test_a_run_leaves_what_it_promises(config: TrainConfig, tmp_path: Path) -> None:
    summary = train(config, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.toml",
        "vocabulary.json",
        "metrics.jsonl",
        "weights.safetensors",
        "test_ranks.safetensors",
        "state",
        "summary.json",
        "manifest.json",
        "manifest.previous.json",
    }
    lines = log_lines(tmp_path / "run")
    steps = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "valid" in line]
    assert [line["step"] for line in steps] == list(range(1, 6 * math.ceil(38 / 8) + 1))
    assert [line["epoch"] for line in evaluations] == [2, 4, 6]
    norms = [line["grad_norm"] for line in steps]
    assert summary["grad_norm"]["mean"] == pytest.approx(sum(norms) / len(norms))
    assert summary["grad_norm"]["max"] == max(norms)
    assert summary["grad_norm"]["last"] == norms[-1]
    ends = norms[4::5]
    assert summary["grad_norm_last_batch_of_epoch"] == pytest.approx(
        {"mean": sum(ends) / len(ends), "max": max(ends), "last": ends[-1]}
    )
    assert 50e6 < summary["peak_memory_bytes"] < 100e9
    best = max(evaluations, key=lambda line: line["valid"]["full"]["NDCG@10"])
    assert summary["best_epoch"] == best["epoch"]
    assert summary["valid"] == best["valid"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert RunDirectory.open(tmp_path / "run").config() == config.changed(split="leave-one-out")  # what auto means
    assert steps[0]["loss"] == pytest.approx(2 * math.log(2), rel=0.3)
    assert steps[-1]["loss"] < steps[0]["loss"]


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "ce"},
        {"loss": "gbce", "negatives": 5},
        {"loss": "ssm", "negatives": 5},
        {"preset": "sasrec-paper", "dropout": 0.2},
        {"optimizer": "adamw", "weight_decay": 0.1, "bias": True},
        {"negatives": 3},
        {"norm": "original", "position": False},
        {"norm": "post", "shared_embedding": False},
        {"user_vector": True, "heads": 2},
        {"residual": False, "blocks": 1},
        {"blocks": 0},
        {"attention_dropout": 0.3},
        {"precision": "bf16"},
        {"precision": "bf16", "loss": "ce"},
        {"schedule": "cosine", "warmup": 5, "clip_norm": 0.5, "init_std": 0.1},
    ],
    ids=str,
)
def test_every_option_trains(config: TrainConfig, tmp_path: Path, changes: dict[str, Any]) -> None:
    given = {name: value for name, value in config.to_mapping().items() if value != TrainConfig().to_mapping()[name]}
    summary = train(TrainConfig.from_mapping(given | changes), tmp_path / "run")
    lines = [line for line in log_lines(tmp_path / "run") if "loss" in line]
    first, last = (sum(line["loss"] for line in part) for part in (lines[:5], lines[-5:]))
    assert last < first
    assert 0 <= summary["test"]["full"]["NDCG@10"] <= 1
    tables = [name for name in RunDirectory(tmp_path / "run").weights() if "item_embedding" in name]
    for name in tables:
        assert (RunDirectory(tmp_path / "run").weights()[name][0] == 0).all()


def test_the_padding_row_is_never_trained(config: TrainConfig, tmp_path: Path) -> None:
    for shared in (True, False):
        out = tmp_path / f"run{shared}"
        train(config.changed(shared_embedding=shared), out)
        for name, tensor in RunDirectory(out).weights().items():
            if name in ("item_embedding.weight", "output_embedding.weight"):
                assert (tensor[0] == 0).all()


@pytest.mark.usefixtures("_read_every_step")
@pytest.mark.parametrize("at", [(1, 1), (3, 2), (4, 5)], ids=str)
@pytest.mark.parametrize(
    "schedule", [{"schedule": "cosine"}, {"schedule": "plateau", "lr_patience": 1, "eval_every": 1}], ids=str
)
def test_stop_and_resume_gives_the_same_weights(
    config: TrainConfig, tmp_path: Path, at: tuple[int, int], schedule: dict[str, Any]
) -> None:
    config = config.changed(warmup=4, patience=0, **schedule)
    whole = train(config, tmp_path / "whole")
    stopped = train(config, tmp_path / "stopped", StopAt(*at))
    assert stopped["interrupted"]
    assert stopped["test"]["full"]["NDCG@10"] >= 0  # usable as it is
    resumed = train(config, tmp_path / "stopped", resume=True)
    assert not resumed["interrupted"]
    for key in ("epochs", "grad_norm", "best_epoch", "valid", "test"):
        assert resumed[key] == whole[key], key
    states = [state(tmp_path / name) for name in ("whole", "stopped")]
    for name, tensor in states[0].items():
        assert tensor.equal(states[1][name]), name
    logs = [log_lines(tmp_path / name) for name in ("whole", "stopped")]
    seconds = [[line.pop("seconds") for line in log if "valid" in line] for log in logs]
    assert logs[0] == logs[1]
    assert all(times == sorted(times) and times[0] > 0 for times in seconds)  # no session starts again from nothing


@pytest.mark.usefixtures("_read_every_step")
def test_a_stop_at_the_end_of_an_epoch_keeps_its_evaluation(config: TrainConfig, tmp_path: Path) -> None:
    """The log, the last snapshot and the result tell of the same evaluations."""
    for epoch in (2, config.training.epochs):
        out = tmp_path / str(epoch)
        summary = train(config, out, StopAt(epoch, 5))
        evaluated = [line["epoch"] for line in RunDirectory.open(out).log() if "valid" in line]
        assert evaluated[-1] == epoch
        assert summary["best_epoch"] in evaluated
        assert RunDirectory.open(out).manifest.snapshots[0].weights is not None
        assert not RunDirectory.open(out).problems()


def test_more_epochs_can_be_added(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "whole")
    train(config.changed(epochs=4), tmp_path / "longer")
    train(config, tmp_path / "longer", resume=True)
    one, other = (state(tmp_path / name) for name in ("whole", "longer"))
    assert all(tensor.equal(other[name]) for name, tensor in one.items())


def test_the_same_seed_gives_the_same_run(config: TrainConfig, tmp_path: Path) -> None:
    one = train(config, tmp_path / "a")
    assert train(config, tmp_path / "b")["test"] == one["test"]
    assert train(config.changed(seed=1), tmp_path / "c")["grad_norm"] != one["grad_norm"]


def test_early_stopping(config: TrainConfig, tmp_path: Path) -> None:
    summary = train(config.changed(epochs=100, lr=1e-12, eval_every=1, patience=3), tmp_path / "run")
    assert summary["stopped_early"]
    assert summary["epochs"] == summary["best_epoch"] + 3 < 100


def test_the_learning_rate_falls_when_validation_stalls(config: TrainConfig, tmp_path: Path) -> None:
    rates = []

    class Watch(Observer):
        def evaluated(self, trainer: Trainer, metrics: Any) -> None:
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    # so small a rate changes nothing, so that no evaluation is better than the first
    plateau: dict[str, Any] = {
        "schedule": "plateau",
        "lr": 1e-12,
        "lr_patience": 2,
        "lr_factor": 0.1,
        "eval_every": 1,
        "patience": 0,
    }
    train(config.changed(**plateau), tmp_path / "run", Watch())
    assert rates == pytest.approx([1e-12] * 3 + [1e-13] * 2 + [1e-14], rel=1e-6)


def test_weight_decay_is_the_optimizers_own(config: TrainConfig, tmp_path: Path) -> None:
    """adamw shrinks a weight without gradient by lr x decay a step; adam moves it by lr towards 0."""
    moved = {}
    for optimizer in ("adam", "adamw"):
        run = RunDirectory(tmp_path / optimizer)
        settings = config.changed(optimizer=optimizer, lr=1e-3, weight_decay=0.1)
        trainer = Trainer(settings, run, load_interactions(config.data.dataset), Observer())
        weight = trainer.model.item_vectors
        with torch.no_grad():
            weight[5] = 2.0
        weight.grad = torch.zeros_like(weight)
        trainer.optimizer.step()
        moved[optimizer] = 2.0 - weight.detach()[5]
    torch.testing.assert_close(moved["adam"], torch.full((8,), 1e-3), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved["adamw"], torch.full((8,), 2.0 * 1e-3 * 0.1), rtol=1e-2, atol=0)


def test_the_gradient_norm_is_that_of_all_gradients_before_clipping() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((3,), (2, 2), (1,))]
    for parameter, value in zip(parameters[:2], (2.0, -3.0), strict=True):
        parameter.grad = torch.full_like(parameter, value)
    expected = math.sqrt(3 * 4 + 4 * 9)
    assert float(global_gradient_norm(parameters)) == pytest.approx(expected)
    assert parameters[0].grad is not None
    assert float(parameters[0].grad[0]) == 2.0
    assert float(global_gradient_norm(parameters, clip=1.0)) == pytest.approx(expected)
    assert float(global_gradient_norm(parameters)) == pytest.approx(1.0, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_with_advice(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is (nan|inf) at step \d+ \(epoch \d+\); try a smaller `lr` than 1e\+30"):
        train(config.changed(lr=1e30), tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "nothing"}, "unknown attention variant 'nothing'"),
        ({"dataset": "nowhere.txt"}, "there is no data set or file 'nowhere.txt'"),
        ({"dataset": "synthetc"}, "did you mean synthetic?"),
        ({"cutoffs": (1, 31)}, "N = 31 is not between 1 and the number of items, 30"),
    ],
    ids=str,
)
def test_bad_input_writes_nothing(config: TrainConfig, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        train(config.changed(**changes), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`device='cuda'`: torch finds no CUDA GPU"):
        train(config.changed(device="cuda"), tmp_path / "run")


def test_a_directory_with_something_in_it_is_left_alone(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="already holds files"):
        train(config, tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"
    train(config, tmp_path / "run")
    with pytest.raises(InputError, match="already holds a run; continue it with `resume=True`"):
        train(config, tmp_path / "run")
    with pytest.raises(InputError, match="is not a directory"):
        train(config, tmp_path / "notes" / "mine.txt")


@pytest.mark.usefixtures("_read_every_step")
def test_resuming_what_cannot_be_resumed(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run directory"):
        train(config, tmp_path / "nowhere", resume=True)
    with pytest.raises(InputError, match="is not a run directory"):
        train(config, tmp_path, resume=True)
    run = tmp_path / "run"
    train(config, run, StopAt(2, 1))
    path = Path(config.data.dataset)
    path.write_text(path.read_text() + "u0 i1\n")
    with pytest.raises(InputError, match="has changed since"):
        train(config, run, resume=True)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnrec.core import files

    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*file: No space left on device"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_negatives_never_are_items_of_the_training_history(config: TrainConfig, small_file: Path) -> None:
    from attnrec.data.batches import TrainingBatches
    from attnrec.data.splits import leave_one_out
    from attnrec.training.objective import Objective

    data = load_interactions(str(small_file))
    split = leave_one_out(data)
    objective = Objective(config, split, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    held_out_drawn = 0
    for epoch in range(20):
        for batch in TrainingBatches(split, 10, 8, 0).epoch(epoch):
            drawn = objective.unseen.draw(batch.users[:, None], (len(batch.users), 2), generator)
            for user, items in zip(batch.users.tolist(), drawn.tolist(), strict=True):
                history = data.history(user).tolist()
                training = history[: split.train_lengths[user]]
                assert not set(items) & set(training)
                held_out_drawn += len(set(items) & (set(history) - set(training)))
    assert held_out_drawn > 0  # training must not know what is held out


def test_python_interface(config: TrainConfig, tmp_path: Path) -> None:
    assert attnrec.train(config, tmp_path / "run")["run"] == str(tmp_path / "run")
    assert attnrec.load(tmp_path / "run").recommend(["i1"], top=3)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = attnrec.nothing


def test_a_second_ctrl_c_stops_at_once() -> None:
    from attnrec.training.interrupts import InterruptRequest

    before = signal.getsignal(signal.SIGINT)
    with InterruptRequest() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
