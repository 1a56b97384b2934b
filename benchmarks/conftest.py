"""What benchmarks share: data sets, the memory that autograd keeps, and fitted exponents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.data.interactions import Interactions
from attnrec.data.load import load_interactions

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_SMALLEST_FITTED = 1024


def load(name: str) -> Interactions:
    """A data set by name; a skip where a real file is not at hand."""
    if name == "synthetic":
        return load_interactions(name)
    path = REAL_DATA / f"{name}.txt"
    if not path.is_file():
        pytest.skip(f"the real data set {name} is not beside this checkout")
    return load_interactions(str(path))


def kept_for_backward(compute: Callable[[], Any]) -> int:
    """Bytes that autograd keeps after ``compute``, each storage counted once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = compute()  # freed storages would be counted over
    del alive
    return sum(kept.values())


class Scaling:
    """Collects times over n and d, and fits time = c n^a d^b."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[tuple[int, int, float, int]]] = defaultdict(list)

    def add(self, name: str, what: str, n: int, d: int, seconds: float, kept: int) -> None:
        self.rows[name, what].append((n, d, seconds, kept))

    def lines(self) -> list[str]:
        """A line for each operator and pass that has enough sizes."""
        found = []
        for (name, what), rows in self.rows.items():
            n, d, seconds, kept = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
            large = n >= _SMALLEST_FITTED
            if len(set(n[large])) < 2 or len(set(d[large])) < 2:
                continue
            design = np.stack([np.log(n), np.log(d), np.ones_like(n)], 1)[large]
            a, b, _ = np.linalg.lstsq(design, np.log(seconds[large]), rcond=None)[0]
            grows, _, _ = np.linalg.lstsq(design, np.log(kept[large]), rcond=None)[0]
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
