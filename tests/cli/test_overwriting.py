"""`--overwrite` begins anew where attnrec wrote before (`tests/notebook/test_overwriting.py` says how)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attnrec as library
from tests.cli.test_commands import FAST, attnrec  # noqa: F401  (a fixture)


def test_a_run_is_replaced_only_when_asked(attnrec: Any, small_file: Path) -> None:  # noqa: F811
    again = ["train", "--dataset", small_file, "--out", "run", *FAST]
    assert attnrec(*again).code == 0
    Path("run/notes.txt").write_text("mine")
    refused = attnrec(*again, "--seed", "1")
    assert refused.code == 2
    assert "continue it with --resume, replace it with --overwrite, or choose another --out" in refused.err
    assert attnrec(*again, "--overwrite", "--resume").code == 2
    assert attnrec(*again, "--overwrite", "--attention", "spda").code == 2
    assert library.load("run").config.training.seed == 0
    assert attnrec(*again, "--overwrite", "--seed", "1").code == 0
    assert library.load("run").config.training.seed == 1
    assert Path("run/notes.txt").read_text() == "mine"
    assert not list(Path("run").glob("replaced*"))


@pytest.mark.slow
def test_a_comparison_is_replaced_only_when_asked(attnrec: Any, small_file: Path) -> None:  # noqa: F811
    command = ["compare", "--attention", "sdpa", "--attention", "alibi", "--dataset", small_file, "--out", "c", *FAST]
    command += ["--seeds", "1", "--epochs", "1"]
    assert attnrec(*command).code == 0
    refused = attnrec(*command, "--dim", "4")
    assert (refused.code, "c holds a comparison with --dim 8, not 4" in refused.err) == (2, True)
    anew = attnrec(*command, "--dim", "4", "--overwrite", "--json")
    assert anew.code == 0
    assert [entry["attention"] for entry in anew.json()["variants"]] == ["sdpa", "alibi"]
    assert library.load("c/runs/alibi/seed-0").config.model.dim == 4
    assert not list(Path("c").glob("replaced*"))
