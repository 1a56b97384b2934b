"""Whatever is damaged in a run is named, and nothing silently gives other results."""

from __future__ import annotations

import shutil
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnrec import load, plot
from attnrec.core.errors import InputError, RunError, RunWarning
from attnrec.training import loop
from attnrec.training.condition import condition_of
from attnrec.training.config import TrainConfig
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from tests.faults.conftest import Outcome, go_on

pytestmark = pytest.mark.usefixtures("_every_step")


@pytest.fixture
def run(config: TrainConfig, tmp_path: Path) -> Path:
    train(config, tmp_path / "run")
    return tmp_path / "run"


def what_it_says(run: Path) -> Any:
    """Everything that a user of a run reads from it."""
    model = load(run)
    directory = RunDirectory.open(run)
    ranks = directory.test_ranks().full.above.tolist()
    return model.evaluate(cutoffs=(5,)), model.recommend(["i1", "i2"]), directory.log(), directory.summary(), ranks


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One byte other, a piece overwritten, or the end cut off."""
    damaged = bytearray(content)
    place = int(rng.integers(len(content)))
    kind = rng.integers(3)
    if kind == 0:
        damaged[place] ^= int(rng.integers(1, 256))
    elif kind == 1:
        damaged[place : place + 16] = b"\xff" * len(damaged[place : place + 16])
    else:
        del damaged[place:]
    return bytes(damaged)


@pytest.mark.parametrize("times", [pytest.param(20, marks=pytest.mark.slow), 3])
def test_overwritten_anywhere(config: TrainConfig, run: Path, tmp_path: Path, times: int) -> None:
    """The same answers, or an error in one line that names the file; going on gives the same weights, or such a line.

    Where a copy or an earlier snapshot stands in, a warning names the file.
    """
    expected, whole = what_it_says(run), Outcome.of(run)
    rng = np.random.default_rng(0)
    refused = stood_in = 0
    broken = tmp_path / "broken"
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        for _ in range(times):
            shutil.copytree(run, broken)
            target = broken / path.relative_to(run)
            target.write_bytes(flipped(path.read_bytes(), rng))
            for action, wanted in ((what_it_says, expected), (lambda path: go_on(config, path), whole)):
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always", RunWarning)
                    message = ""
                    try:
                        found = action(broken)
                    except (RunError, InputError) as error:
                        message = str(error)
                shown = [message, *(str(line.message) for line in said)]
                refused += bool(message)
                stood_in += bool(said)
                assert message or found == wanted, path
                assert any(path.name in line for line in shown) or not any(shown)
                assert not any("\n" in line for line in shown)
            shutil.rmtree(broken)
    assert refused > times * 6
    assert stood_in > times * 2


@pytest.mark.parametrize("name", ["metrics.jsonl", "manifest.json", "vocabulary.json", "config.toml", "state"])
def test_missing(config: TrainConfig, run: Path, name: str) -> None:
    """What is missing is named, and never made up."""
    whole = Outcome.of(run)
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    else:
        (run / name).unlink()
    if name == "manifest.json":
        with pytest.warns(RunWarning, match=r"manifest\.json is missing: using the previous one"):
            assert go_on(config, run) == whole
    else:
        with (
            warnings.catch_warnings(action="ignore", category=RunWarning),
            pytest.raises(RunError, match=rf"{name} is missing|all of its snapshots are damaged"),
        ):
            train(config, run, resume=True)
        assert not (run / name).is_file()


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "null",
        "{",
        "[" * 100_000,
        '{"step": "x", "epoch": 1, "loss": 1.0, "grad_norm": 1.0}',
        '{"step": 9, "epoch": 1, "loss": "q", "grad_norm": 1.0}',
        '{"step": 9, "epoch": 1, "loss": 1.0, "grad_nrm": 1.0}',
        '{"epoch": 1, "seconds": 1.0, "valid": null}',
        '{"epoch": 1, "seconds": 1.0, "valid": {"full": {}}}',
    ],
    ids=lambda line: line[:20],
)
def test_a_log_that_is_damaged_behind_its_snapshot(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Of a run that was killed: what no checksum covers is read as far as it is what a training writes."""
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN", 100.0)
    run = tmp_path / "killed"

    class Kill(Observer):
        def evaluated(self, trainer: Trainer, metrics: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, run, Kill())
    whole = RunDirectory.open(run).log()
    assert len(whole) == 4
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")
    assert RunDirectory.open(run).log() == whole
    assert plot(run)


def test_the_weights_have_a_copy(config: TrainConfig, run: Path) -> None:
    expected = load(run).recommend(["i1"])
    (run / "weights.safetensors").unlink()
    with pytest.warns(RunWarning, match=r"weights\.safetensors is missing; using its copy, state/"):
        assert load(run).recommend(["i1"]) == expected
    for path in (run / "state").glob("*-weights.safetensors"):
        path.unlink()
    with pytest.raises(RunError, match="is missing"), warnings.catch_warnings(action="ignore", category=RunWarning):
        load(run)


def test_the_snapshot_before_is_used(config: TrainConfig, run: Path) -> None:
    whole = Outcome.of(run)
    newest, before = RunDirectory.open(run).manifest.snapshots
    path = run / newest.state.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(
        RunWarning, match=rf"{newest.state.name} is damaged .*; skipping the snapshot of step {newest.step}"
    ):
        train(config, run, resume=True)
    assert Outcome.of(run) == whole
    assert before.step < newest.step


def test_a_result_stays_until_the_training_has_come_as_far_again(config: TrainConfig, run: Path) -> None:
    """Going on from the snapshot before, and stopped there: what the manifest vouches for is not replaced by less."""
    newest, _ = RunDirectory.open(run).manifest.snapshots
    (run / newest.state.name).write_bytes(b"damaged")
    names = ("weights.safetensors", "summary.json", "test_ranks.safetensors")
    kept = {name: (run / name).read_bytes() for name in names}

    class Stop(Observer):
        def started(self, trainer: Trainer) -> None:
            signal.raise_signal(signal.SIGTERM)

    with pytest.warns(RunWarning) as said:
        assert train(config, run, Stop(), resume=True)["interrupted"]
    assert str(said[-1].message).endswith("was interrupted before the step of its earlier result, which is kept")
    assert {name: (run / name).read_bytes() for name in names} == kept
    assert RunDirectory.open(run).finished()


@pytest.mark.parametrize(
    ("before", "after"), [("dim = 4", "dim = 8"), ("seed = 0\n", ""), ("lr = 0.01", "lr = 0.1")], ids=str
)
def test_an_edited_configuration(config: TrainConfig, run: Path, before: str, after: str) -> None:
    path = run / "config.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    for action in (lambda: load(run), lambda: train(config, run, resume=True)):
        with pytest.raises(
            RunError, match=r"config\.toml is damaged or was changed: it is not what the training wrote"
        ):
            action()


@pytest.mark.parametrize("change", ["an item", "a time", "an id"])
def test_other_data(config: TrainConfig, tmp_path: Path, change: str) -> None:
    path = tmp_path / "timed.txt"
    rows = [line.split() for line in Path(config.data.dataset).read_text().splitlines()]
    lines = [f"{user} {item} {1_500_000_000 + 60 * place}\n" for place, (user, item) in enumerate(rows)]
    path.write_text("user item time\n" + "".join(lines))
    timed = TrainConfig.from_mapping(config.to_mapping() | {"dataset": str(path)})
    train(timed, tmp_path / "timed")
    lines[5] = {
        "an item": f"{rows[5][0]} {rows[4][1]} {1_500_000_000 + 300}\n",
        "a time": f"{rows[5][0]} {rows[5][1]} {1_500_000_000 + 301}\n",
        "an id": lines[5],
    }[change]
    text = "user item time\n" + "".join(lines)
    path.write_text(text.replace(" i1 ", " j1 ") if change == "an id" else text)
    with pytest.raises(InputError, match=r"has changed since .* was started"):
        train(timed, tmp_path / "timed", resume=True)
    with pytest.raises(InputError, match=r"is not the data that .* was trained on"):
        load(tmp_path / "timed").evaluate(cutoffs=(5,))


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_the_manifest_before_is_looked_at_too(run: Path, content: bytes | None) -> None:
    """It is what stands in for a damaged manifest; of a run that has only one there is nothing to say."""
    before = run / "manifest.previous.json"
    if content is None:
        before.unlink()
    else:
        before.write_bytes(content)
    found = condition_of(run)
    assert found.whole == (content is None)
    assert all("manifest.previous.json is damaged" in note for note in found.notes)
