"""What benchmarks share: data sets, the memory that autograd keeps, and fitted exponents."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from attnrec.core.measuring import fit_exponents
from attnrec.data.interactions import Interactions
from attnrec.data.load import load_interactions

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_SMALLEST_FITTED = 1024


def load(name: str) -> Interactions:
    """A data set by name; skips the benchmark if the real file is missing."""
    if name == "synthetic":
        return load_interactions(name)
    path = REAL_DATA / f"{name}.txt"
    if not path.is_file():
        pytest.skip(f"the real data set {name} is not next to this checkout")
    return load_interactions(str(path))


class Scaling:
    """Collects times for n and d, and fits time = c n^a d^b."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[tuple[int, int, float, int]]] = defaultdict(list)

    def add(self, name: str, what: str, n: int, d: int, seconds: float, kept: int) -> None:
        self.rows[name, what].append((n, d, seconds, kept))

    def lines(self) -> list[str]:
        """A line for each operator and pass that has enough sizes."""
        found = []
        for (name, what), rows in self.rows.items():
            large = [row for row in rows if row[0] >= _SMALLEST_FITTED]
            if len({n for n, *_ in large}) < 2 or len({d for _, d, *_ in large}) < 2:
                continue
            n, d, seconds, kept = zip(*large, strict=True)
            a, b = fit_exponents(seconds, n, d)
            grows, _ = fit_exponents(kept, n, d)
            found.append(f"{name:12s} {what:22s} time ~ n^{a:.2f} d^{b:.2f}   kept for backward ~ n^{grows:.2f}")
        return found


_SCALING = Scaling()


@pytest.fixture(scope="session")
def scaling() -> Scaling:
    return _SCALING


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = _SCALING.lines()
    if lines:
        terminalreporter.section(f"exponents over n >= {_SMALLEST_FITTED} (claim: time ~ n^2 d)")
        for line in lines:
            terminalreporter.write_line(line)
