"""The data sets that the benchmarks run on: the embedded one, and the real ones where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnrec.data.interactions import Interactions
from attnrec.data.load import load_interactions

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def load(name: str) -> Interactions:
    """A data set by name; a skip where a real file is not at hand."""
    if name == "synthetic":
        return load_interactions(name)
    path = REAL_DATA / f"{name}.txt"
    if not path.is_file():
        pytest.skip(f"the real data set {name} is not beside this checkout")
    return load_interactions(str(path))
