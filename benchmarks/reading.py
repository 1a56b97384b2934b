"""Times reading a large CSV of ratings, next to pyarrow reading and dictionary-encoding the same columns.

    python benchmarks/reading.py [--lines 30000000] [--repeats 3]

Each reading runs in its own process; CPU seconds cover all its threads and the imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

_MEASURED = """
import json, resource, sys
{code}
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6]))
"""
_PYARROW = """
import pyarrow as pa, pyarrow.csv
coded = pa.dictionary(pa.int32(), pa.string())
kinds = {"userId": coded, "movieId": coded, "timestamp": pa.float64()}
options = pa.csv.ConvertOptions(column_types=kinds, include_columns=list(kinds))
table = pa.csv.read_csv(sys.argv[1], convert_options=options).unify_dictionaries()
"""
_ATTNREC = """
from attnrec.data.reading.read import read_interactions
data = read_interactions(sys.argv[1])
"""


def write_ratings(path: Path, lines: int) -> None:
    """Write a file like MovieLens-32M: sorted by user, skewed item popularity, random times."""
    rng = np.random.default_rng(0)
    columns = {
        "userId": np.sort(rng.integers(1, 200_949, lines)),
        "movieId": rng.zipf(1.3, lines) % 87_585 + 1,
        "rating": rng.integers(1, 11, lines) / 2,
        "timestamp": rng.integers(789_652_009, 1_697_155_000, lines),
    }
    pa.csv.write_csv(pa.table(columns), path)


def measure(code: str, path: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in GB of one reading."""
    command = [sys.executable, "-c", _MEASURED.format(code=code), str(path)]
    seconds, memory = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description="Time reading a large CSV of ratings.")
    parser.add_argument("--lines", type=int, default=30_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        write_ratings(path, given.lines)
        print(f"{given.lines:,} lines, {path.stat().st_size / 1e6:,.0f} MB")
        runs = [(measure(_PYARROW, path), measure(_ATTNREC, path)) for _ in range(given.repeats)]
    for name, found in zip(("pyarrow", "attnrec"), zip(*runs, strict=True), strict=True):
        seconds, memory = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{name}: {seconds:.1f} s of CPU, {memory:.1f} GB")
    print(f"ratio {statistics.median(ours[0] / theirs[0] for theirs, ours in runs):.2f}")


if __name__ == "__main__":
    main()
