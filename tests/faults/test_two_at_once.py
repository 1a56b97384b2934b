"""Two processes and one folder; and what is in a folder already."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnrec import compare
from attnrec.errors import InputError, RunWarning
from attnrec.locks import LOCK, FolderLock
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from tests.faults.conftest import Outcome, go_on

_HOLDER = """
import sys
from pathlib import Path
from attnrec.locks import FolderLock
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


def test_a_comparison_is_trained_once(config: TrainConfig, tmp_path: Path, holder: Any) -> None:
    folder = tmp_path / "compared"
    compare(["sdpa", "alibi"], config, folder, seeds=1)
    plan = (folder / "comparison.toml").read_bytes()
    holder(folder)
    with pytest.raises(InputError, match="compared is in use by another process"):
        compare(["sdpa", "alibi", "rotary"], config, folder, seeds=2)
    assert (folder / "comparison.toml").read_bytes() == plan


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_and_folder_syncs(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def unsupported(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    usual = os.fsync
    monkeypatch.setattr("attnrec.locks.fcntl.flock", unsupported)
    monkeypatch.setattr(
        "attnrec.files.os.fsync",
        lambda descriptor: unsupported() if stat.S_ISDIR(os.fstat(descriptor).st_mode) else usual(descriptor),
    )
    with pytest.warns(RunWarning, match="the file system has no locks"):
        train(config, tmp_path / "run")
    assert Outcome.of(tmp_path / "run")


def test_a_lock_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(Exception, match="cannot lock"):
        FolderLock(tmp_path / "run").acquire()
    assert (tmp_path / "precious").read_text() == "mine"


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


def test_files_of_somebody_else_are_left_alone(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "compared" / "runs" / "sdpa" / "seed-0"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("mine")
    (tmp_path / "compared" / "comparison.toml").touch()
    (tmp_path / "compared" / "comparison.toml").unlink()
    with pytest.raises(InputError, match="holds other files"):
        compare(["sdpa", "alibi"], config, tmp_path / "compared", seeds=1)
    assert (run / "config.toml").read_text() == "mine"
    with pytest.raises(InputError, match="already holds files"):
        train(config, run)
    assert [path.name for path in run.iterdir()] == ["config.toml"]


def test_a_training_that_fails_at_once_leaves_nothing(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from attnrec.attention import AttentionOperator\n"
        "class Mine(AttentionOperator):\n"
        "    def weights(self, q, k, ctx): ...\n"
        "    def forward(self, q, k, v, ctx): return v[0]\n"
    )
    values = config.to_mapping() | {"attention": str(tmp_path / "mine.py")}
    with pytest.raises(InputError, match=r"Mine\.forward gave"):
        train(TrainConfig.from_mapping(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()
