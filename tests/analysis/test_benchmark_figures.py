"""The figure of a benchmark of many operators."""

from __future__ import annotations

import pytest

from attnrec.analysis.benchmark_figures import time_by_length
from attnrec.speed.plan import BOTH, FORWARD
from attnrec.speed.runner import Measurement
from tests.analysis.conftest import cut_texts

LONG = [f"awr:refinement=additive,impl=triton,width={width}" for width in range(8, 14)]


@pytest.mark.parametrize("operators", [["sdpa", "awr", "talking-heads"], ["sdpa", *LONG]])
def test_nothing_is_cut(operators: list[str]) -> None:
    measured = [
        Measurement(operator, passes, n, 64, 4 * n, ms=n * place / 50, ms_low=n * place / 55, ms_high=n * place / 45)
        for place, operator in enumerate(operators, 1)
        for passes in (FORWARD, BOTH)
        for n in (50, 100, 200)
    ]
    figure = time_by_length(measured, "embedded, CPU")
    assert not cut_texts(figure)
    assert all(axes.get_window_extent().height > 2 * figure.dpi for axes in figure.axes)
    assert len(figure.axes[0].get_legend_handles_labels()[1]) == len(operators) + 1
