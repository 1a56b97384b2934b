"""Lines can be told apart, by colour-blind readers too."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb

from attnrec.analysis.style import PALETTE, folded, line_look

# of linear sRGB: Machado, Oliveira & Fernandes, IEEE Transactions on Visualization and Computer Graphics, 2009
SIGHT = {
    "all colours": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> npt.NDArray[np.float64]:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIELAB of linear sRGB."""
    xyz = TO_XYZ @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
def test_ten_colours_are_far_apart(sight: str) -> None:
    """2 is what can be noticed side by side (CIE76)."""
    seen = [lab(np.asarray(SIGHT[sight]) @ linear(colour)) for colour in PALETTE]
    assert len(PALETTE) >= 10
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 15


def test_every_colour_shows_on_white() -> None:
    assert min(1.05 / (float(TO_XYZ[1] @ linear(colour)) + 0.05) for colour in PALETTE) > 2


def test_no_two_of_fifty_lines_look_alike() -> None:
    looks = [line_look(place) for place in range(50)]
    assert len({look["color"] for look in looks[:10]}) == 10
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 50
    for one, other in combinations(looks[:20], 2):
        if one["color"] == other["color"]:
            assert one["linestyle"] != other["linestyle"]
            assert one["marker"] != other["marker"]


def test_long_names_are_folded() -> None:
    assert folded("awr:refinement=additive,impl=triton") == "awr:refinement=additive,impl=triton"
    name = "/home/somebody/code/variants/recency_of_things.py:Attention+awr:refinement=value,width=16"
    assert folded(name).replace("\n", "") == name
    for text in (name, "x" * 200, ",,:" * 40):
        lines = folded(text).splitlines()
        assert "".join(lines) == text
        assert max(map(len, lines)) <= 40
