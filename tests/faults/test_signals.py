"""Signals at any moment, terminals and pipes that go away, and twenty kills in a row, of real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import attnrec
from attnrec.core.errors import RunError
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from tests.faults.conftest import Outcome

ROOT = str(Path(attnrec.__file__).parents[1])
_TRAIN = """
import sys
from attnrec.training import loop
loop._FLUSH_EVERY, loop._SECONDS_BETWEEN, loop._SNAPSHOT_SHARE = 2, 0.02, 1.0
from attnrec.cli.main import main
main()
"""


def command(config: TrainConfig, out: Path, *more: str) -> list[str]:
    options = [f"--{name.replace('_', '-')}={config.value(name)}" for name in ("epochs", "dim", "blocks", "lr")]
    options += ["--batch-size=16", "--max-len=5", "--eval-every=20", "--cutoffs=5", "--patience=0", *more]
    return [sys.executable, "-c", _TRAIN, "train", "--dataset", config.data.dataset, "--out", str(out), *options]


def start(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, text=True, start_new_session=True, **{"stderr": subprocess.PIPE} | options)


def wait_for_steps(out: Path, steps: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if RunDirectory.open(out).manifest.snapshots[0].step >= steps:
                return
        except (RunError, ValueError):
            pass  # not there yet
        time.sleep(0.01)
    raise AssertionError(f"{out} did not get as far as step {steps}")


@pytest.fixture
def long(config: TrainConfig) -> TrainConfig:
    """Some seconds of training."""
    return config.changed(epochs=400, eval_every=20, patience=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_in_a_row(long: TrainConfig, tmp_path: Path) -> None:
    """Always resumable, the same weights bit for bit, no gap in the log, and the folder can be used at each moment."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(long, whole), check=True, capture_output=True)
    chance = random.Random(0)
    before = -1
    for _ in range(20):
        resume = [sys.executable, "-c", _TRAIN, "train", "--resume", "--out", str(killed)]
        process = start(resume if RunDirectory(killed).is_run() else command(long, killed), stderr=subprocess.DEVNULL)
        wait_for_steps(killed, before + 1)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
        run = RunDirectory.open(killed)
        assert not run.problems()
        before = run.manifest.snapshots[0].step
        assert [line["step"] for line in run.log() if "loss" in line][:before] == list(range(1, before + 1))
        if run.manifest.snapshots[0].weights:
            assert run.weights()
    train(long, killed, resume=True)
    assert Outcome.of(killed) == Outcome.of(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_signals_end_it_like_ctrl_c(long: TrainConfig, tmp_path: Path, name: str) -> None:
    out = tmp_path / "run"
    process = start(command(long, out))
    wait_for_steps(out, 10)
    process.send_signal(getattr(signal, name))
    if name != "SIGINT":
        process.send_signal(getattr(signal, name))  # a terminal that is closed sends two
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "`--resume` continues this run" in said
    summary = RunDirectory.open(out).summary()
    assert summary is not None
    assert summary["interrupted"]


@pytest.mark.slow
def test_nohup(long: TrainConfig, tmp_path: Path) -> None:
    """Where SIGHUP is ignored, it stays so."""
    out = tmp_path / "run"
    process = start(
        command(long.changed(epochs=100), out), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    wait_for_steps(out, 10)
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


@pytest.mark.slow
def test_the_reader_of_the_output_goes_and_ctrl_c_follows(long: TrainConfig, tmp_path: Path) -> None:
    """As `2>&1 | tee log` and Ctrl-C, which ends both: the state is saved, the best model tested."""
    out = tmp_path / "run"
    process = start(command(long.changed(eval_every=1), out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for_steps(out, 10)
    assert process.stdout is not None
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    summary = RunDirectory.open(out).summary()
    assert summary is not None
    assert summary["interrupted"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_nothing_can_be_printed(config: TrainConfig, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(command(config, tmp_path / "run", "--json"), stdout=full, stderr=full)
        assert process.wait(timeout=120) == 1
    assert RunDirectory.open(tmp_path / "run").finished()


@pytest.mark.slow
def test_workers_do_not_outlive_their_comparison(long: TrainConfig, tmp_path: Path) -> None:
    """Killed, a comparison takes its workers with it; SIGTERM lets them save; and it goes on afterwards."""
    out = tmp_path / "compared"
    base = command(long.changed(epochs=2000), out)
    variants = ["--attention=sdpa", "--attention=alibi", "--seeds=1", "--jobs=2"]
    arguments = [*base[:3], "compare", *variants, *base[4:]]
    runs = [out / "runs" / name / "seed-0" for name in ("sdpa", "alibi")]
    for ending in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        process = start(arguments, stderr=subprocess.DEVNULL)
        steps = [RunDirectory(run).manifest.snapshots[0].step if run.exists() else 0 for run in runs]
        for run, done in zip(runs, steps, strict=True):
            wait_for_steps(run, done + 1)
        workers = children_of(process.pid)
        assert len(workers) == 2
        process.send_signal(ending)
        assert process.wait(timeout=60) == (-9 if ending == signal.SIGKILL else 130)
        deadline = time.monotonic() + 20
        while any(map(is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_alive, workers))
        for run in runs:
            assert not RunDirectory.open(run).problems()


def children_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def is_alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


_SIGNALLED = """
import os, signal, sys, time
from attnrec.training.interrupts import InterruptRequest, end_program
end_program()
{body}
"""
_HALF = """
import os, signal, time
whole = False
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.3)
    whole = True
except BaseException:
    pass  # as some libraries do
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "try:\n    import half\n    time.sleep(30)\nexcept KeyboardInterrupt: print('ended after', half.whole)",
            "ended after True",
        ),
        ("import half\nwith InterruptRequest() as asked:\n    time.sleep(0.2)\n    print(asked.requested)", "True"),
        (
            "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(30)\nexcept BaseException:\n    pass\n"
            "with InterruptRequest() as asked: print(asked.requested)",
            "True",
        ),
    ],
    ids=["an import is finished first", "a training that begins then ends at once", "one that a library swallows"],
)
def test_a_signal_is_neither_lost_nor_cuts_an_import_in_two(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "half.py").write_text(_HALF)
    script = _SIGNALLED.format(body=body)
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert (found.stdout.strip(), found.stderr) == (said, "")


def test_ctrl_c_before_there_is_a_command_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    found = subprocess.run([sys.executable, "-m", "attnrec", "--help"], env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (-signal.SIGINT, "", "")
