"""The verdicts on the GPU's aims, from made-up CSV files."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path
from typing import Any

import pytest

judge = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "judge_aims.py"))["judge"]
SIZES = (1024, 2048, 4096)


def row(operator: str, ms: float | str, n: int = 200, **changes: Any) -> dict[str, Any]:
    plain = {"passes": "both", "d": 64, "precision": "bf16", "batch": 1024, "heads": 2, "floor_ms": 0.05, "error": ""}
    return {"operator": operator, "ms": ms, "n": n} | plain | changes


def good_files() -> dict[str, list[dict[str, Any]]]:
    """Every aim is met, and no more than met."""
    real = [row("triton", 1.0), row("torch:varlen", 2.0), row("torch:flash", 5.0), row("sdpa", 2.5)]
    return {
        "games-200": list(real),
        "ml-1m-200": list(real),
        "full-long": [row(operator, n / 100, n, batch=64) for n in SIZES for operator in ("triton", "torch:flash")],
        "full-200": [row("triton", 0.125, passes="forward")],
        "awr": [
            row(f"awr:impl={impl}", n / per_ms, n, batch=64)
            for n in SIZES
            for impl, per_ms in (("triton", 100), ("reference", 25))
        ],
    }


def verdicts(folder: Path, files: dict[str, list[dict[str, Any]]]) -> list[bool | None]:
    for name, rows in files.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return [verdict.met for verdict in judge(folder)]


def test_all_met(tmp_path: Path) -> None:
    assert verdicts(tmp_path, good_files()) == [True] * 5
    words = [str(verdict) for verdict in judge(tmp_path)]
    assert all(text.startswith("met: ") for text in words)
    assert "2.00 times (1.000 ms, torch:varlen 2.000 ms)" in words[0]
    assert "2.50 times the least of 0.050 ms" in words[3]


def test_nothing_measured(tmp_path: Path) -> None:
    assert [verdict.met for verdict in judge(tmp_path)] == [None] * 5


@pytest.mark.parametrize(
    ("file", "place", "changes", "aim"),
    [
        ("games-200", 0, {"ms": 1.01}, 0),
        ("ml-1m-200", 1, {"ms": 1.99}, 1),
        ("ml-1m-200", 3, {"ms": 1.5}, 1),
        ("full-long", 4, {"ms": 41.0}, 2),
        ("full-200", 0, {"ms": 0.126}, 3),
        ("awr", 4, {"ms": 41.0}, 4),
    ],
)
def test_one_that_is_too_slow_is_missed(
    tmp_path: Path, file: str, place: int, changes: dict[str, float], aim: int
) -> None:
    files = good_files()
    files[file][place] = files[file][place] | changes
    assert verdicts(tmp_path, files) == [place != aim for place in range(5)]


@pytest.mark.parametrize(
    ("file", "changes", "aim"),
    [
        ("games-200", {"ms": "", "error": "out of memory"}, 0),
        ("games-200", {"precision": "fp32"}, 0),
        ("games-200", {"batch": 16}, 0),
        ("games-200", {"passes": "forward"}, 0),
        ("full-long", {"d": 32}, 2),
        ("full-200", {"passes": "both"}, 3),
        ("awr", {"operator": "awr"}, 4),
    ],
)
def test_what_failed_or_was_measured_otherwise_does_not_count(
    tmp_path: Path, file: str, changes: dict[str, Any], aim: int
) -> None:
    files = good_files()
    files[file] = [files[file][0] | changes, *files[file][1:]]
    assert verdicts(tmp_path, files) == [None if place == aim else True for place in range(5)]
