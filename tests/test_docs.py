"""The code in the documents runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from attnrec.attention import SequenceContext, build_attention, parse_attention
from attnrec.attention import operator as operator_module

DOCS = Path(__file__).resolve().parents[1] / "docs"


def python_blocks(name: str) -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), flags=re.DOTALL)
    assert blocks
    return blocks


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "<documentation>", "exec"), names)
    return names


def test_the_variant_of_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_module, "_registry", {})
    (block,) = python_blocks("add-a-variant.md")
    run(block)
    operator = build_attention(parse_attention("mean"), 2, 3, 10, 0.0)
    v = torch.randn(2, 2, 4, 3)
    out = operator(v, v, v, SequenceContext(torch.tensor([0, 3]), 4))
    assert (out[0] == 0).all()
    for t in (1, 2, 3):
        torch.testing.assert_close(out[1, :, t], v[1, :, 1 : t + 1].mean(1))


def test_the_python_interface(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = python_blocks("command-line.md")
    names = run(block.replace("epochs=20", "epochs=1"))
    assert names["summary"]["epochs"] == 1
    assert len(names["recommender"].recommend(["item1", "item7"], top=5)) == 5


def test_the_figures_of_the_refinement_at_the_start() -> None:
    """The table of `awr.md` is what its code gives."""
    (block,) = python_blocks("awr.md")
    alive = run(block)["alive"]
    table = (DOCS / "awr.md").read_text()
    rows = re.findall(r"^\| (.*?) \| (\d+) \| ([\d.]+) \|", table, flags=re.MULTILINE)
    assert [(row[0], row[1]) for row in rows[::3]] == [
        ("Glorot W, no normalisation", "50"),
        ("W of deviation 1, no normalisation", "50"),
        ("default", "50"),
        ("`temperature=4`", "50"),
    ]
    options = (",normalize=false,init_scale={}", ",normalize=false", "", ",temperature=4")
    for place, (_, n, documented) in enumerate(rows):
        if n != "1024":  # takes too long
            scale = (2 / (int(n) + 32)) ** 0.5
            assert alive(int(n), options[place // 3].format(scale))[0] == pytest.approx(float(documented), abs=0.02)
