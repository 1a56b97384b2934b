"""What is said of a difference in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attnrec.evaluation.more_seeds import SeedsWanted
from attnrec.evaluation.significance import Difference
from attnrec.experiments.differences import _stated, advice, verdict

CLEAR = Difference(0.02, 0.01, 0.03, 0.005, 0.035, 0.975, 0.001, 0.002, 100, 3)
OPEN = replace(CLEAR, adjusted_low=-0.001, p_value=0.03, p_holm=0.06)
ONE_SEED = replace(
    CLEAR, adjusted_low=None, adjusted_high=None, adjusted_level=None, p_value=None, p_holm=None, seeds=1
)


def test_the_verdict_is_that_of_the_adjusted_result() -> None:
    assert verdict(CLEAR) == "better"
    assert verdict(replace(CLEAR, mean=-0.02)) == "worse"
    assert verdict(OPEN) == "no difference shown"  # though its interval alone leaves out 0
    assert verdict(ONE_SEED) == "not tested"


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        (CLEAR, None, ""),
        (ONE_SEED, None, "one seed says nothing about the variants; run at least two more"),
        (
            OPEN,
            SeedsWanted(4, 0.001, hopeless=False),
            f"about {OPEN.seeds + 4} seeds in all would show a difference of this size half of the time",
        ),
        (
            OPEN,
            SeedsWanted(1, 0.001, hopeless=False),
            f"about {OPEN.seeds + 1} seeds in all would show a difference of this size half of the time",
        ),
        (
            OPEN,
            SeedsWanted(None, 0.001, hopeless=False),
            "more than 20 seeds would be needed to show a difference of this size",
        ),
        (
            OPEN,
            SeedsWanted(None, 0.0021, hopeless=True),
            "more seeds would not help: the uncertainty over users alone is ±0.0021",
        ),
    ],
)
def test_advice(found: Difference, wanted: SeedsWanted | None, words: str) -> None:
    assert advice(found, wanted) == words


def test_what_is_said_of_a_difference() -> None:
    table = np.random.default_rng(0).normal(size=(3, 100))
    clear = _stated(CLEAR, table)
    assert (clear.mean, clear.verdict, clear.more_seeds, clear.advice) == (CLEAR.mean, "better", None, "")
    stated = _stated(OPEN, table + 0.3)
    assert stated.more_seeds is not None
    assert f"about {OPEN.seeds + stated.more_seeds} seeds" in stated.advice
    same = _stated(replace(OPEN, mean=0.0, p_holm=1.0), np.zeros((3, 100)))
    assert same.advice == "the same for every user and seed"
