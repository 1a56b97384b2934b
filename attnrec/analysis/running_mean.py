"""The mean around each step, without a lag, from the first step to the last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_REACH = 25


def reach_of(steps: int) -> int:
    """How many steps before and after each are averaged in a run of ``steps``: 25, in short runs a tenth of it."""
    return max(1, min(_REACH, steps // 10))


def running_mean(values: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    """For every value the mean of it, the ``reach`` before it and the ``reach`` after it; of the same length.

    The first and last ``reach`` places, which have fewer on one side, get the straight line fitted to the ``2 reach +
    1`` values nearest to that end, kept between the lowest and the highest of them. A mean of what is there would
    flatten the ends, and a narrower one would end at the single last step, often that of a small batch. The line joins
    the means without a step, as at its middle it is their mean (Savitzky & Golay, Analytical Chemistry, 1964).

    Args:
        values: one a step, finite. With fewer than ``2 reach + 1``, all of them make one line.
        reach: at least 1.
    """
    width = 2 * reach + 1
    if len(values) < width:
        return _line(values)
    means = np.convolve(values, np.ones(width) / width, mode="valid")
    return np.concatenate([_line(values[:width])[:reach], means, _line(values[-width:])[reach + 1 :]])


def _line(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The straight line of least squares through evenly spaced values."""
    away = np.arange(len(values)) - (len(values) - 1) / 2
    slope = values @ away / (away @ away or 1.0)
    return np.clip(values.mean() + slope * away, values.min(), values.max())
