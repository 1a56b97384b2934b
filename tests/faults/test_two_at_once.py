"""Two processes and one folder; and what is in a folder already."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnrec import compare, plot
from attnrec import train as train_from_python
from attnrec.analysis.style import save_figure
from attnrec.core.errors import InputError, RunError, RunWarning
from attnrec.core.locks import LOCK, FolderLock
from attnrec.experiments.pool import ComparisonObserver
from attnrec.training.config import TrainConfig
from attnrec.training.observer import Observer
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from tests.faults.conftest import Outcome, go_on

_VARIANT = """
from attnrec.attention import AttentionOperator
class Mine(AttentionOperator):
    def weights(self, q, k, ctx): ...
    def forward(self, q, k, v, ctx): return v[0]
"""
_HOLDER = """
import sys
from pathlib import Path
from attnrec.core.locks import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Starts a process that holds the lock of a folder."""
    started = []

    def hold(folder: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        started.append(process)
        return process

    yield hold
    for process in started:
        process.communicate()


def test_a_run_has_one_writer(config: TrainConfig, tmp_path: Path, holder: Any) -> None:
    run = tmp_path / "run"
    train(config, run)
    whole = Outcome.of(run)
    process = holder(run)
    said = rf"run is in use by another process \({process.pid} on .*, since .*\); wait until it ends"
    with pytest.raises(InputError, match=said):
        train(config, run, resume=True)
    process.kill()  # leaves its file behind, and no lock
    process.wait()
    assert (run / LOCK).exists()
    assert go_on(config, run) == whole
    assert not (run / LOCK).exists()


def test_a_new_run_is_started_once(config: TrainConfig, tmp_path: Path, holder: Any) -> None:
    (tmp_path / "run").mkdir()
    holder(tmp_path / "run")
    with pytest.raises(InputError, match="is in use by another process"):
        train(config, tmp_path / "run")


@pytest.mark.slow
def test_a_comparison_is_trained_once(config: TrainConfig, tmp_path: Path, holder: Any) -> None:
    folder = tmp_path / "compared"
    compare(["sdpa", "alibi"], config, folder, seeds=1)
    plan = (folder / "comparison.toml").read_bytes()
    holder(folder)
    with pytest.raises(InputError, match="compared is in use by another process"):
        compare(["sdpa", "alibi", "rotary"], config, folder, seeds=2)
    assert (folder / "comparison.toml").read_bytes() == plan


@pytest.mark.slow
def test_a_run_that_is_replaced_meanwhile_is_not_counted(config: TrainConfig, tmp_path: Path) -> None:
    class Replacing(ComparisonObserver):
        def run_ended(self, variant: str, seed: int, kind: str, message: str) -> None:
            if variant == "sdpa":
                other = config.changed(attention="rotary", seed=7)
                train(other, tmp_path / "compared/runs/sdpa/seed-0", overwrite=True)

    with pytest.raises(InputError, match="is a run with"):
        compare(["sdpa", "alibi"], config, tmp_path / "compared", seeds=1, observer=Replacing())
    assert not (tmp_path / "compared" / "comparison.json").exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_and_folder_syncs(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def unsupported(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    usual = os.fsync
    monkeypatch.setattr("attnrec.core.locks.fcntl.flock", unsupported)
    monkeypatch.setattr(
        "attnrec.core.files.os.fsync",
        lambda descriptor: unsupported() if stat.S_ISDIR(os.fstat(descriptor).st_mode) else usual(descriptor),
    )
    with pytest.warns(RunWarning, match="this file system has no locks"):
        train(config, tmp_path / "run")
    assert Outcome.of(tmp_path / "run")


def test_a_lock_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(Exception, match="cannot lock"):
        FolderLock(tmp_path / "run").acquire()
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.slow
def test_a_comparison_deletes_nothing(config: TrainConfig, tmp_path: Path) -> None:
    """A finished run that has lost its snapshots stays as it is, and so do the user's own files in it."""
    folder = tmp_path / "compared"
    compare(["sdpa", "alibi"], config, folder, seeds=1)
    run = folder / "runs" / "sdpa" / "seed-0"
    (run / "notes.txt").write_text("mine")
    for path in (run / "state").iterdir():
        path.unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent != folder}
    result = compare(["sdpa", "alibi"], config, folder, seeds=1)
    assert not result.problems()
    after = {path: path.read_bytes() for path in before if path.exists() and path.suffix != ".png"}
    assert after == {path: content for path, content in before.items() if path.suffix != ".png"}


@pytest.mark.slow
def test_runs_in_each_others_place(config: TrainConfig, tmp_path: Path) -> None:
    """Folders that were swapped or copied by hand would give each variant the figures of the other."""
    folder = tmp_path / "compared"
    compare(["sdpa", "alibi"], config, folder, seeds=2)
    runs = folder / "runs"
    (runs / "sdpa").rename(runs / "other")
    (runs / "alibi").rename(runs / "sdpa")
    (runs / "other").rename(runs / "alibi")
    for action in (lambda: compare(["sdpa", "alibi"], config, folder, seeds=2), lambda: plot(folder)):
        with pytest.raises(InputError, match=r"sdpa/seed-0 is a run with `attention='alibi'`, not sdpa"):
            action()
    shutil.rmtree(runs / "sdpa" / "seed-1")
    shutil.copytree(runs / "sdpa" / "seed-0", runs / "sdpa" / "seed-1")
    (runs / "sdpa").rename(runs / "other")
    (runs / "alibi").rename(runs / "sdpa")
    (runs / "other").rename(runs / "alibi")
    with pytest.raises(InputError, match=r"alibi/seed-1 is a run with `seed=0`, not 1"):
        compare(["sdpa", "alibi"], config, folder, seeds=2)


def test_files_of_somebody_else_are_left_alone(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "compared" / "runs" / "sdpa" / "seed-0"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        compare(["sdpa", "alibi"], config, tmp_path / "compared", seeds=1)
    assert (run / "config.toml").read_text() == "mine"
    with pytest.raises(InputError, match="already holds files"):
        train(config, run)
    assert [path.name for path in run.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("name", ["ZeroDivisionError", "StopIteration", "SystemExit", "GeneratorExit"])
def test_a_variant_that_fails_later_is_named_and_the_run_kept(config: TrainConfig, tmp_path: Path, name: str) -> None:
    fails = f"\n        Mine.calls += 1\n        if Mine.calls > 40: raise {name}(0)\n        return v * 1.0"
    text = _VARIANT.replace("    def weights", "    calls = 0\n    def weights").replace("return v[0]", fails)
    (tmp_path / "mine.py").write_text(text)
    own = config.changed(attention=str(tmp_path / "mine.py"), epochs=50)
    with pytest.raises(RunError, match=rf"mine\.py'`: {name}: 0\n.*mine\.py, line 8, in forward, after step"):
        train(own, tmp_path / "run")
    assert RunDirectory.open(tmp_path / "run").log()


def test_own_files_in_a_run_that_never_began_stay(config: TrainConfig, tmp_path: Path) -> None:
    class Failing(Observer):
        def started(self, trainer: Any) -> None:
            (tmp_path / "run" / "state" / "mine.txt").touch()
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train(config, tmp_path / "run", Failing())
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["state", "mine.txt"]


def test_a_finished_run_is_never_removed(config: TrainConfig, tmp_path: Path) -> None:
    """Also where going on begins at its first snapshot and fails."""
    run = tmp_path / "run"
    train(config, run)
    newest, before = RunDirectory.open(run).manifest.snapshots
    assert before.step == 0
    (run / newest.state.name).write_bytes(b"damaged")

    class Failing(Observer):
        def started(self, trainer: Any) -> None:
            raise RuntimeError("something else")

    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError, match="something else"), pytest.warns(RunWarning, match="is damaged"):
        train(config, run, Failing(), resume=True)
    assert {path: path.read_bytes() for path in kept if path.name != "metrics.jsonl"} == {
        path: content for path, content in kept.items() if path.name != "metrics.jsonl"
    }


def test_what_was_begun_and_interrupted_can_be_started_again(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before the first snapshot."""

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("attnrec.training.loop.Trainer._snapshot", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(config, tmp_path / "run")


@pytest.mark.parametrize("name", ["state", "variants"])
def test_a_prepared_folder_leads_nowhere_else(config: TrainConfig, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "1-model.safetensors").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).touch()
    (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
    (tmp_path / "mine.py").write_text(_VARIANT)
    with pytest.raises(RunError, match="is a link; a run must hold its files itself"):
        train(config.changed(attention=str(tmp_path / "mine.py")), tmp_path / "run")
    assert (tmp_path / "precious" / "1-model.safetensors").read_text() == "mine"
    assert len(list((tmp_path / "precious").iterdir())) == 1


def test_figures_are_not_written_through_links(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run)
    figure = plot(run)["training"]
    (run / "figures").symlink_to(tmp_path)
    with pytest.raises(RunError, match="figures is a link"):
        save_figure(figure, run / "figures", "training")
    (run / "figures").unlink()
    (run / "figures").mkdir()
    (tmp_path / "precious").write_text("mine")
    (run / "figures" / "training.png").symlink_to(tmp_path / "precious")
    save_figure(figure, run / "figures", "training")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_backup_of_hard_links_keeps_what_it_has(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run)
    shutil.copytree(run, tmp_path / "backup", copy_function=os.link)
    before = {path: path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    train(config.changed(epochs=4), run, resume=True)
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_whose_data_have_moved(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run)
    moved = Path(config.data.dataset).rename(tmp_path / "moved.txt")
    train_from_python(out=run, resume=True, epochs=3, dataset=str(moved))
    assert RunDirectory.open(run).config().data.dataset == str(moved)


def test_a_training_that_fails_at_once_leaves_nothing(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(_VARIANT)
    values = config.to_mapping() | {"attention": str(tmp_path / "mine.py")}
    with pytest.raises(InputError, match=r"Mine\.forward returned"):
        train(TrainConfig.from_mapping(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()
