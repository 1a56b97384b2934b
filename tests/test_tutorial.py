"""The tutorial runs from its first cell to its last, and shows what it says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def read() -> Any:
    return nbformat.read(TUTORIAL, as_version=4)


def test_it_is_committed_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = read()
    NotebookClient(
        notebook, timeout=250, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = {
        cell.source.splitlines()[-1]: output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "execute_result"
    }
    for last, words in {
        "report": "5 of 5 checks hold",
        "result": "Recency:reach=10 on synthetic",
        'attnrec.plot("runs/recency")': '<img alt="training"',
        "comparison": "Does NDCG@10 differ from that of sdpa?",
        "comparison.figures()": '<img alt="ndcg-by-cutoff"',
        "recommender": "recommender.recommend(",
        'recommender.recommend(["item1", "item7"], top=5)': "<th",
    }.items():
        assert words in shown[last]["text/html"], last
    assert (tmp_path / "runs/compared/runs/Recency/seed-1/variants/Recency.py").is_file()
