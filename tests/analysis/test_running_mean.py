"""The running mean is centred, and goes from the first step to the last."""

from __future__ import annotations

import numpy as np
import pytest

from attnrec.analysis.running_mean import reach_of, running_mean


def test_the_middle_is_the_mean_around_each_step() -> None:
    values = np.random.default_rng(0).normal(size=60)
    found = running_mean(values, 7)
    assert found.shape == values.shape
    for place in range(7, 53):
        assert found[place] == pytest.approx(values[place - 7 : place + 8].mean())


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 51, 200])
def test_it_does_not_lag(steps: int) -> None:
    """A straight line stays itself at every step: a trailing mean would be late, a cut window flat at the ends."""
    line = 3 - 0.1 * np.arange(steps, dtype=np.float64)
    assert running_mean(line, 25) == pytest.approx(line)


def test_a_last_step_of_a_small_batch_is_not_the_end_of_the_line() -> None:
    norms = np.ones(200)
    norms[-1] = 2.0
    assert running_mean(norms, 25)[-1] < 1.1


def test_the_ends_stay_among_the_values() -> None:
    assert running_mean(np.exp(-np.arange(60) / 2), 25).min() > 0


def test_short_runs_are_averaged_over_less() -> None:
    assert [reach_of(steps) for steps in (1, 10, 36, 250, 10_000)] == [1, 1, 3, 25, 25]
