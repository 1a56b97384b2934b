"""Which aims of the GPU kernels are met, judged from the CSV files that `benchmarks/gpu.sh` writes.

    python benchmarks/judge_aims.py FOLDER

Every aim is for d = 64 in bf16. An aim with several sizes must be met at each of them.

| aim | file |
|---|---|
| with lengths as in real data, n = 200, batch x heads 2048, forward and backward: `triton` twice as fast as the \
fastest way that torch offers (including `sdpa`) | `games-200.csv`, `ml-1m-200.csv` |
| all n long, n from 1024 to 4096, forward and backward: `triton` no slower than `torch:flash` | `full-long.csv` |
| all 200 long, batch x heads 2048, forward: `triton` within 2.5 times the least time by the measured ceilings | \
`full-200.csv` |
| n of 1024 and more, forward and backward: `awr:impl=triton` 4 times as fast as `awr:impl=reference` | `awr.csv` |
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """One aim: what is wanted, what was found, and whether it is met; None if it was not measured."""

    aim: str
    found: str
    met: bool | None

    def __str__(self) -> str:
        word = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        return f"{word}: {self.aim}\n    {self.found}"


def judge(folder: Path) -> list[Verdict]:
    """A verdict for every aim, from the files in ``folder``; an aim whose file is missing is not measured."""
    fast = [
        _ratios(
            f"lengths as in {name}, n = 200, batch x heads 2048: triton at least 2 times as fast as torch's fastest",
            _read(folder / f"{name}-200.csv", 200, 2048),
            "triton",
            lambda operator: operator.startswith("torch:") or operator == "sdpa",
            2.0,
            (200,),
        )
        for name in ("games", "ml-1m")
    ]
    long = _ratios(
        "all n long, n = 1024 to 4096: triton no slower than torch:flash",
        _read(folder / "full-long.csv", 1024),
        "triton",
        lambda operator: operator == "torch:flash",
        1.0,
        (1024, 2048, 4096),
    )
    refined = _ratios(
        "n of 1024 and more: awr:impl=triton at least 4 times as fast as awr:impl=reference",
        _read(folder / "awr.csv", 1024),
        "awr:impl=triton",
        lambda operator: operator == "awr:impl=reference",
        4.0,
        (1024,),
    )
    return [*fast, long, _near_the_floor(_read(folder / "full-200.csv", 200, 2048)), refined]


def _read(path: Path, least: int, sequences: int | None = None) -> list[Row]:
    """The successful rows with n >= ``least``, bf16 and d = 64, and if given, batch x heads = ``sequences``."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            row
            for row in csv.DictReader(file)
            if row["ms"]
            and int(row["n"]) >= least
            and (row["precision"], row["d"]) == ("bf16", "64")
            and sequences in (None, int(row["batch"]) * int(row["heads"]))
        ]


def _ratios(
    aim: str, rows: Sequence[Row], ours: str, is_other: Callable[[str], bool], wanted: float, sizes: Sequence[int]
) -> Verdict:
    """How many times as fast ``ours`` is as the fastest of the others, at each size; forward and backward.

    All of ``sizes`` must have been measured; other measured sizes count as well.
    """
    both = [row for row in rows if row["passes"] == "both"]
    found, met = [], True
    measured = {int(row["n"]) for row in both if row["operator"] == ours}
    for n in sorted(measured | set(sizes)):
        here = [row for row in both if int(row["n"]) == n]
        mine = [row for row in here if row["operator"] == ours]
        others = [row for row in here if is_other(row["operator"])]
        if not (mine and others):
            missing = ours if not mine else "what it is compared with"
            return Verdict(aim, f"n = {n}: {missing} was not measured", None)
        best = min(others, key=lambda row: float(row["ms"]))
        ratio = float(best["ms"]) / float(mine[0]["ms"])
        met = met and ratio >= wanted
        found.append(
            f"n = {n}: {ratio:.2f} times ({float(mine[0]['ms']):.3f} ms, {best['operator']} {float(best['ms']):.3f} ms)"
        )
    return Verdict(aim, "; ".join(found), met)


def _near_the_floor(rows: Sequence[Row]) -> Verdict:
    aim = "all 200 long, batch x heads 2048, forward: triton within 2.5 times the least time"
    found = [row for row in rows if (row["operator"], row["passes"], row["n"]) == ("triton", "forward", "200")]
    if not found:
        return Verdict(aim, "triton was not measured", None)
    ms, floor = float(found[0]["ms"]), float(found[0]["floor_ms"])
    return Verdict(aim, f"{ms:.3f} ms, {ms / floor:.2f} times the least of {floor:.3f} ms", ms <= 2.5 * floor)


def main() -> None:
    """Print the verdicts of the folder named on the command line."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python benchmarks/judge_aims.py FOLDER (of CSV files)")
    for verdict in judge(Path(sys.argv[1])):
        print(verdict)


if __name__ == "__main__":
    main()
