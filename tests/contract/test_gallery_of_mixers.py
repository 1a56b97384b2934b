"""The contract names the fault of every wrong mixer, and finds none in a right one."""

from __future__ import annotations

from typing import Any

import pytest

from attnrec.contract import Report, check_mixer, check_names
from attnrec.mixers import Mixer
from tests.contract.gallery import Wrong
from tests.contract.gallery_of_mixers import WRONG
from tests.contract.right_mixers import RIGHT, Filter

QUICK = [name for name in check_names("mixer") if name not in ("torch.compile", "growth")]


def run(mixer: Any, *more: str) -> Report:
    return check_mixer(mixer, only=[*QUICK, *more], compile_backend="aot_eager")


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.component.__name__)
def test_the_fault_is_named(wrong: Wrong) -> None:
    report = run(wrong.component, wrong.check)
    failed = {result.name: result for result in report.failures}
    assert wrong.check in failed, str(report)
    assert wrong.says in failed[wrong.check].fault
    assert set(failed) == {wrong.check, *wrong.also}, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("mixer", RIGHT, ids=lambda mixer: mixer.__name__)
def test_right_mixers_keep_the_contract(mixer: type[Mixer]) -> None:
    # aot_eager takes an FFT's strides for others than it has; inductor compiles it rightly
    report = run(mixer, "growth", *(() if mixer is Filter else ("torch.compile",)))
    assert report.holds, str(report)
    left_out = {result.name for result in report.results if result.status == "not run"}
    assert left_out <= {"implementations", "weights", "device"}, str(report)  # the meta device has no FFT


def test_every_check_has_a_wrong_mixer() -> None:
    """But for the exponents of growth, which are a figure."""
    assert {wrong.check for wrong in WRONG} == {*check_names("mixer")} - {"growth"}
