"""Values that no machine can hold: refused at once, in a line that names the option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import attnrec  # noqa: F401  (a fixture)

HUGE = ("1" + 18 * "0", 400 * "9")


@pytest.mark.parametrize("value", HUGE, ids=["18 digits", "400 digits"])
@pytest.mark.parametrize(
    "arguments",
    [
        *(["train", f"--{name}"] for name in ("dim", "max-len", "negatives", "batch-size", "blocks", "heads")),
        *(["train", f"--{name}"] for name in ("epochs", "patience", "eval-every", "warmup", "lr-patience", "seed")),
        *(["compare", "--attention", "sdpa", f"--{name}"] for name in ("seeds", "jobs", "dim")),
        ["data", "--shuffle-test", "--seeds"],
        ["data", "--shuffle-test", "--epochs"],
        *(["bench", "--attention", "sdpa", f"--{name}"] for name in ("seq-len", "dim", "heads", "batch")),
    ],
    ids=" ".join,
)
def test_a_huge_count(attnrec: Any, arguments: list[str], value: str) -> None:  # noqa: F811
    result = attnrec(*arguments, value)
    assert (result.code, result.out) == (2, "")
    last = result.err.splitlines()[-1]
    assert last.startswith("attnrec: error: ")
    assert arguments[-1] in last
    assert len(last) < 1000
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["seq-len", "dim", "heads", "batch"])
def test_a_benchmark_that_cannot_fit(attnrec: Any, name: str) -> None:  # noqa: F811
    result = attnrec("bench", "--attention", "sdpa", f"--{name}", 10**9)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"--{name} 1000000000" in result.err
    assert "needs at least" in result.err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", 400 * "9"])
@pytest.mark.parametrize("name", ["lr", "clip-norm", "weight-decay", "init-std", "dropout", "gbce-t", "beta2"])
def test_a_number_that_is_not_finite(attnrec: Any, name: str, value: str) -> None:  # noqa: F811
    result = attnrec("train", f"--{name}", value)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"--{name} must be a finite number" in result.err
