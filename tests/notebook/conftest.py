"""A notebook without a kernel: cells that are executed in a module `__main__`, with their sources in `linecache`."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Cell = Callable[[str], dict[str, Any]]

IMPORTS = """
import math
from functools import partial
import torch
from torch import Tensor, nn
from torch.nn import functional as F
import attnrec
from attnrec.attention import AttentionOperator, masked_softmax, register_attention
"""
OPERATOR = '''
class Mine(AttentionOperator):
    """Softmax attention with a scale."""

    def __init__(self, num_heads, head_dim, max_len, dropout, *, scale: float = 1.0, kind: str = "plain"):
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.scale, self.kind = scale, kind

    def weights(self, q: Tensor, k: Tensor, ctx):
        return masked_softmax(self.scale * q @ k.transpose(-1, -2), ctx.mask())

    def forward(self, q, k, v, ctx):
        return F.dropout(self.weights(q, k, ctx), self.dropout, self.training) @ v
'''


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    """Runs a cell, after one of the usual imports, and gives the notebook's names."""
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    names, files = count(), []

    def run(source: str) -> dict[str, Any]:
        files.append(f"<cell {next(names)}>")
        linecache.cache[files[-1]] = len(source), None, source.splitlines(keepends=True), files[-1]
        exec(compile(source, files[-1], "exec", dont_inherit=True), vars(notebook))
        return vars(notebook)

    run(IMPORTS)
    yield run
    for file in files:
        del linecache.cache[file]


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a training of moments, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    lines = [f"u{user} i{(user * place) % 25}\n" for user in range(60) for place in range(1, 7)]
    Path("small.txt").write_text("".join(lines))
    return {"dim": 8, "max_len": 8, "blocks": 1, "epochs": 1, "eval_every": 1, "device": "cpu", "dataset": "small.txt"}
