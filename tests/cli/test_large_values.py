"""Values that no machine can hold: refused at once, in a line that names the option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnrec.attention import build_attention
from attnrec.core.errors import InputError
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
    assert result.code == 2
    assert not result.out or "--shuffle-test" in arguments  # which shows the data first
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


def test_parameters_that_cannot_fit(attnrec: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Their size is known before any is there."""
    arguments = ("bench", "--attention", "awr", "--dim", 1, "--batch", 1, "--seq-len", 10**8)
    monkeypatch.setattr("attnrec.core.memory.memory_of", lambda device: 1 << 34)
    result = attnrec(*arguments)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "--attention awr at --seq-len 100000000 with --dim 1, --heads 1 needs at least 47.7 GiB" in result.err
    assert not list(Path().iterdir())


def test_a_constructor_without_memory() -> None:
    with pytest.raises(InputError, match="`attention='awr:width=1000000000'`: not enough memory for it"):
        build_attention("awr:width=1000000000", 1000, 2, 1_000_000, 0.0)


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", 400 * "9"])
@pytest.mark.parametrize("name", ["lr", "clip-norm", "weight-decay", "init-std", "dropout", "gbce-t", "beta2"])
def test_a_number_that_is_not_finite(attnrec: Any, name: str, value: str) -> None:  # noqa: F811
    result = attnrec("train", f"--{name}", value)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"--{name} must be a finite number" in result.err
