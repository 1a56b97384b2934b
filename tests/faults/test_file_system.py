"""A training is killed, loses its power or meets a failing disk at every single write, and always can go on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnrec.core.errors import InputError, RunError
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from tests.faults.conftest import Outcome, go_on
from tests.faults.file_system import Disk, FaultyOS

ALL_OR_SOME = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 11])
pytestmark = [
    pytest.mark.usefixtures("_every_step"),
    pytest.mark.filterwarnings("ignore::attnrec.core.errors.RunWarning"),
]


@pytest.fixture(params=["new", "resumed"])
def traced(config: TrainConfig, tmp_path: Path, request: pytest.FixtureRequest) -> FaultyOS:
    """All calls of one training: from the beginning, or of a finished run that goes on for another epoch."""
    system, run = FaultyOS(tmp_path / "traced"), tmp_path / "traced"
    if request.param == "resumed":
        train(config.changed(epochs=1), run)
        system.remember()
    with pytest.MonkeyPatch.context() as patch:
        system.install(patch)
        train(config, run, resume=request.param == "resumed")
    assert Outcome.of(tmp_path / "traced")
    found = system.after_kill(len(system.calls))
    for name, inode in found.names.items():  # the trace leaves nothing out
        assert (tmp_path / "traced" / name).read_bytes() == found.contents[inode]
    return system


def usable(path: Path) -> bool:
    """Whether there is a run, of which everything can be had, but for weights before the first evaluation."""
    if not RunDirectory(path).is_run():
        return False
    run = RunDirectory.open(path)
    run.config(), run.vocabulary(), run.log(), run.summary()
    if any(snapshot.weights for snapshot in run.manifest.snapshots):
        assert run.weights()
    else:
        with pytest.raises(InputError, match="has not been evaluated"):
            run.weights()
    return True


def go_on_from_all(config: TrainConfig, disks: Iterator[Disk], whole: Outcome, folder: Path, every: int) -> int:
    """Go on from every different disk, or from each so manieth; how many of them held a run."""
    different = {repr(disk): disk for disk in disks}.values()
    runs = 0
    for number, disk in enumerate(different):
        if number % every == 0:
            disk.write_to(folder / str(number))
            runs += usable(folder / str(number))
            assert go_on(config, folder / str(number)) == whole
            assert not RunDirectory(folder / str(number)).problems()
    return runs


@ALL_OR_SOME
def test_killed_at_every_write(
    config: TrainConfig, traced: FaultyOS, whole: Outcome, tmp_path: Path, every: int
) -> None:
    (tmp_path / "killed").mkdir()
    disks = (traced.after_kill(calls) for calls in range(traced.remembered, len(traced.calls) + 1))
    assert go_on_from_all(config, disks, whole, tmp_path / "killed", every) > 25 / every


@ALL_OR_SOME
@pytest.mark.parametrize("names_are_safe", [True, False])
def test_power_cut_at_every_write(
    config: TrainConfig, traced: FaultyOS, whole: Outcome, tmp_path: Path, names_are_safe: bool, every: int
) -> None:
    (tmp_path / "cut").mkdir()
    calls = range(traced.remembered, len(traced.calls) + 1)
    disks = (traced.after_power_cut(number, names_are_safe=names_are_safe) for number in calls)
    assert go_on_from_all(config, disks, whole, tmp_path / "cut", every) > 5 / every


@ALL_OR_SOME
@pytest.mark.parametrize(("code", "for_good"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["full", "error"])
def test_an_error_at_every_write(
    config: TrainConfig, whole: Outcome, tmp_path: Path, code: int, for_good: bool, every: int
) -> None:
    number, failed = 0, True
    while failed:
        folder = tmp_path / f"failed-{number}"
        message = ""
        with pytest.MonkeyPatch.context() as patch:
            system = FaultyOS(folder, number, code, for_good=for_good).install(patch)
            try:
                train(config, folder)
            except RunError as error:
                message = str(error)
        failed = system.failed
        assert "\n" not in message
        # the last call may fail when the result is there already; else a failure is told, and nothing else is
        assert bool(message) or not failed or RunDirectory(folder).finished()
        assert failed or not message
        usable(folder)
        assert (Outcome.of(folder) if RunDirectory(folder).finished() else go_on(config, folder)) == whole
        number += every
    assert number > 100
