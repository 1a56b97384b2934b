"""The forest plot shows the differences and intervals of the tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color

from attnrec.analysis.forest import forest_figure
from attnrec.analysis.style import line_look
from attnrec.experiments.result import StatedDifference, Verdict
from tests.analysis.conftest import cut_texts

NAMES = ("sdpa", "awr:refinement=additive,impl=triton", "my_folder/my$variant$.py:Attention", "hstu")


def difference(mean: float, reach: float | None, p: float | None) -> StatedDifference:
    verdict: Verdict = (
        "not tested" if p is None else "no difference shown" if p > 0.05 else "better" if mean > 0 else "worse"
    )
    return StatedDifference(
        mean=mean,
        low=-1.0,
        high=1.0,
        adjusted_low=None if reach is None else mean - reach,
        adjusted_high=None if reach is None else mean + 2 * reach,
        adjusted_level=None if reach is None else 0.95,
        p_value=p,
        p_holm=p,
        users=100,
        seeds=1 if p is None else 3,
        verdict=verdict,
        more_seeds=None,
        users_part=None,
        advice="",
    )


DIFFERENCES = {
    NAMES[1]: {"full": difference(0.01, 0.004, 0.02), "sampled": difference(0.02, 0.05, 0.7)},
    NAMES[2]: {"full": difference(-0.01, None, None), "sampled": difference(-0.02, None, None)},
    NAMES[3]: {"full": difference(-0.03, 0.01, 0.001), "sampled": difference(0.0, 0.01, 1.0)},
}


def intervals(axes: Axes) -> dict[float, list[float]]:
    """Both ends of each row's interval, by height."""
    segments = [
        part for lines in axes.collections if isinstance(lines, LineCollection) for part in lines.get_segments()
    ]
    return {float(part[0, 1]): [float(x) for x in part[:, 0]] for part in map(np.asarray, segments)}


def points(axes: Axes) -> list[Any]:
    return [
        line for line in axes.get_lines() if line.get_marker() in {line_look(place)["marker"] for place in range(9)}
    ]


def test_points_and_intervals() -> None:
    figure = forest_figure(NAMES, DIFFERENCES, "NDCG@10")
    assert figure is not None
    full, sampled = figure.axes
    assert (full.get_title(loc="left"), sampled.get_title(loc="left")) == ("full ranking", "sampled-100")
    assert [float(line.get_xdata()[0]) for line in points(full)] == [0.01, -0.01, -0.03]
    assert [float(line.get_ydata()[0]) for line in points(full)] == [0, 1, 2]
    found = intervals(full)
    assert list(found) == [0, 2]  # one seed has no interval
    assert found[0] == pytest.approx([0.006, 0.018])
    assert found[2] == pytest.approx([-0.04, -0.01])
    assert intervals(sampled)[0] == pytest.approx([-0.03, 0.12])
    assert [same_color(line.get_markerfacecolor(), "white") for line in points(full)] == [False, True, False]
    assert all(same_color(line.get_markerfacecolor(), "white") for line in points(sampled))


def test_rows_are_named_and_coloured_as_elsewhere() -> None:
    figure = forest_figure(NAMES, DIFFERENCES, "NDCG@5")
    assert figure is not None
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [name.replace("$", r"\$") for name in NAMES[1:]]
    assert axes.yaxis_inverted()
    for place, line in enumerate(points(axes), 1):
        assert same_color(line.get_color(), line_look(place)["color"])
        assert line.get_marker() == line_look(place)["marker"]
    (zero,) = [line for line in axes.get_lines() if list(np.asarray(line.get_xdata())) == [0, 0]]
    assert zero.get_linestyle() == "-"
    words = figure.get_supxlabel()
    assert words.startswith("test NDCG@5 minus that of sdpa")
    assert "adjusted for the 4 differences shown together" in words
    assert "one seed" in words
    assert not cut_texts(figure)


def test_without_intervals_there_is_no_figure() -> None:
    assert forest_figure(NAMES, {}, "NDCG@10") is None
    assert forest_figure(NAMES, {NAMES[2]: DIFFERENCES[NAMES[2]]}, "NDCG@10") is None
