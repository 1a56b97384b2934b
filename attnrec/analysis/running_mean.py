"""A centred running mean, without lag, from the first step to the last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_REACH = 25


def reach_of(steps: int) -> int:
    """How many steps before and after each are averaged in a run of ``steps``: 25, or a tenth of a short run."""
    return max(1, min(_REACH, steps // 10))


def running_mean(values: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    """The mean of each value with the ``reach`` values before and after it; the result has the same length.

    The first and last ``reach`` places have fewer neighbours on one side. They get the straight line fitted to the
    ``2 reach + 1`` values nearest to that end, clipped to the lowest and highest of these. A mean of the available
    values would flatten the ends, and a shrinking window would end at the single last step, often that of a small
    batch. The line joins the means without a jump, because at its middle it equals their mean (Savitzky & Golay,
    Analytical Chemistry, 1964).

    Args:
        values: one per step, finite. If there are fewer than ``2 reach + 1``, one line is fitted to all of them.
        reach: at least 1.
    """
    width = 2 * reach + 1
    if len(values) < width:
        return _line(values)
    means = np.convolve(values, np.ones(width) / width, mode="valid")
    return np.concatenate([_line(values[:width])[:reach], means, _line(values[-width:])[reach + 1 :]])


def _line(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The least-squares line through evenly spaced values, clipped to their range."""
    away = np.arange(len(values)) - (len(values) - 1) / 2
    slope = values @ away / (away @ away or 1.0)
    return np.clip(values.mean() + slope * away, values.min(), values.max())
