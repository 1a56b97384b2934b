"""A bug in somebody's file: one clear block, and the folder can be used again once the file is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnrec.core.own_code import defined_here
from tests.cli.test_commands import FAST, attnrec  # noqa: F401  (a fixture)

OPERATOR = """from attnrec.attention import AttentionOperator

class Mine(AttentionOperator):
    def __init__(self, num_heads, head_dim, max_len, dropout):
        super().__init__(num_heads, head_dim, max_len, dropout)
        {construct}

    def weights(self, q, k, ctx): ...

    def forward(self, q, k, v, ctx):
        {forward}
        return v
"""
BUGS = {
    "syntax": ("def f(:\n", "mine.py cannot be loaded: SyntaxError: invalid syntax", "mine.py, line 1:", "def f(:", 2),
    "import": (
        "import os\nx = {}['a']\n",
        "mine.py cannot be loaded: KeyError: 'a'",
        "mine.py, line 2:",
        "x = {}['a']",
        2,
    ),
    "construct": (
        OPERATOR.format(construct="self.x = {}['a']", forward="pass"),
        "--attention mine.py: Mine cannot be constructed: KeyError: 'a'",
        "mine.py, line 6, in __init__:",
        "self.x = {}['a']",
        2,
    ),
    "value": (
        OPERATOR.format(construct="self.x = int('a')", forward="pass"),
        "--attention mine.py: invalid literal for int() with base 10: 'a'",
        "mine.py, line 6, in __init__:",
        "self.x = int('a')",
        2,
    ),
    "first step": (
        OPERATOR.format(construct="pass", forward="v = v @ v"),
        "--attention mine.py: RuntimeError: Expected size",
        "mine.py, line 11, in forward, after step 0:",
        "v = v @ v",
        1,
    ),
    "evaluation": (
        OPERATOR.format(construct="pass", forward="v if self.training else self.nope"),
        "--attention mine.py: AttributeError: 'Mine' object has no attribute 'nope'",
        "mine.py, line 11, in forward, after step ",
        "v if self.training else self.nope",
        1,
    ),
}
MENDED = OPERATOR.format(construct="pass", forward="pass")


@pytest.mark.parametrize("bug", BUGS)
def test_train_says_where_and_the_folder_can_be_used_again(
    attnrec: Any,  # noqa: F811
    small_file: Path,
    bug: str,
) -> None:
    source, message, place, line, code = BUGS[bug]
    Path("mine.py").write_text(source)
    arguments = ("train", "--attention", "mine.py", "--dataset", small_file, "--out", "run", *FAST)
    failed = attnrec(*arguments)
    assert failed.code == code
    first, second, third = failed.err.splitlines()[-3:]
    assert first.startswith(f"attnrec: error: {message}")
    assert second.startswith(f"  {place}")
    assert third == f"    {line}"
    assert "Traceback" not in failed.err
    if bug == "evaluation":  # the others come to no run
        assert "run: failed, " in attnrec("doctor", "run").out
    Path("mine.py").write_text(MENDED)
    again = attnrec(*arguments)
    assert again.code == 0, again.err
    assert Path("run/summary.json").is_file()
    assert Path("run/diverged-1").is_dir() == (bug == "evaluation")  # which had logged steps, and nothing is lost


@pytest.mark.slow
def test_compare_says_it_once_and_goes_on_when_it_is_mended(attnrec: Any, small_file: Path) -> None:  # noqa: F811
    source, message, place, line, _ = BUGS["evaluation"]
    Path("mine.py").write_text(source)
    variants = ("compare", "--attention", "sdpa", "--attention", "mine.py", "--seeds", "2")
    arguments = (*variants, "--dataset", small_file, "--out", "c", *FAST)
    failed = attnrec(*arguments)
    assert failed.code == 1
    assert f"mine.py, seeds 0, 1 failed: {message}\n  {place}" in failed.err
    assert failed.err.count(f"    {line}\n") == 1
    assert "warning: mine.py: 1 of 1 checks fails: shape" in failed.err
    assert attnrec(*arguments, "--no-check").err.count("warning: mine.py") == 0
    Path("mine.py").write_text(MENDED)
    again = attnrec(*arguments)
    assert again.code == 0, again.err
    assert "2 of them already finished" in again.err
    Path("mine.py").write_text(MENDED + "# another version\n")
    changed = attnrec(*arguments)
    assert changed.code == 2
    assert "mine.py has changed since c was started with it" in changed.err


def test_a_refusal_is_still_one_line(attnrec: Any) -> None:  # noqa: F811
    Path("mine.py").write_text(OPERATOR.format(construct="raise ValueError('no such width')", forward="pass"))
    failed = attnrec("train", "--attention", "mine.py")
    assert (failed.code, failed.err) == (2, "attnrec: error: --attention mine.py: no such width\n")


def test_an_unknown_name_suggests_the_classes_of_this_folder(attnrec: Any) -> None:  # noqa: F811
    Path("ideas.py").write_text(
        "raise SystemExit('this is not executed')\n"
        "import attnrec\n"
        "class Recency(attnrec.attention.AttentionOperator): ...\n"
        "class Further(Recency): ...\n"
        "class Mixed(Mixer): ...\n"
        "class Other: ...\n"
    )
    Path("model.py").write_text("class Last(SequentialModel): ...\n")
    Path("broken.py").write_text("class Recency(AttentionOperator:\n")
    assert list(defined_here({"AttentionOperator", "Mixer"})) == [
        "ideas.py:Recency",
        "ideas.py:Further",
        "ideas.py:Mixed",
    ]
    failed = attnrec("train", "--attention", "recency")
    assert failed.code == 2
    assert failed.err.startswith("attnrec: error: unknown attention variant 'recency'")
    assert "ideas.py:Recency" in failed.err
    assert "model.py" not in failed.err
    assert "in this folder: model.py:Last" in attnrec("train", "--model", "last").err


def test_compare_looks_at_models_too(attnrec: Any, tmp_path: Path) -> None:  # noqa: F811
    sees = "from attnrec.models.base import SequentialModel, item_table\nclass Sees(SequentialModel):\n"
    sees += "    def __init__(self, catalogue, config):\n        super().__init__(catalogue, config)\n"
    sees += "        self.items = item_table(catalogue, config.dim)\n"
    sees += "    def forward(self, batch):\n        return self.items(batch.items) + self.items(batch.items).sum(0)\n"
    sees += "    @property\n    def item_vectors(self):\n        return self.items.weight\n"
    Path("sees.py").write_text(sees)
    found = attnrec(
        "compare", "--attention", "sdpa", "--model", "sees.py", "--epochs", "1", "--dim", "8", "--seeds", "1"
    )
    assert "warning: sees.py: " in found.err
    assert "no future leak" in found.err
