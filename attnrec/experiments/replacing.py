"""A comparison begun anew in its folder: what was there is moved aside, and removed when the new one is whole."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnrec.core.errors import RunWarning
from attnrec.core.files import make_folders
from attnrec.core.locks import FolderLock
from attnrec.experiments.compare import PLAN, RUNS, Comparison, check_plan, is_comparison, prepare
from attnrec.experiments.report import MARKDOWN_RESULT
from attnrec.experiments.result import JSON_RESULT
from attnrec.training.claiming import REPLACED, moved_aside, remove_run

_OWN = (JSON_RESULT, MARKDOWN_RESULT, RUNS, PLAN)  # the plan last: until it has gone, the comparison is still there


@contextmanager
def claimed_anew(comparison: Comparison) -> Iterator[Comparison]:
    """As `attnrec.experiments.compare.claimed`, for a folder whose comparison, if it has one, is to be replaced.

    What is replaced lies in ``replaced-N`` there until every run of the new one has its result; where one has none in
    the end, it stays, with a `RunWarning`. Raises RunError where it cannot be moved.
    """
    path = comparison.path
    make_folders(path)
    with FolderLock(path):
        begun = is_comparison(path) or any(path.glob(f".{REPLACED}-*"))
        aside = moved_aside(path, REPLACED, _OWN) if begun else None
        if aside is None:
            check_plan(comparison)
        prepare(comparison)
        yield comparison
        if aside is None:
            return
        if all(comparison.finished(*run) for run in comparison.runs()):
            _remove(aside)
        else:
            warnings.warn(f"the comparison that was in {path} is in {aside}", RunWarning, stacklevel=3)


def _remove(path: Path) -> None:
    """Remove a comparison and its runs; what is not of attnrec stays."""
    for run in path.glob(f"{RUNS}/*/seed-*"):
        remove_run(run)
    for name in (JSON_RESULT, MARKDOWN_RESULT, PLAN):
        with contextlib.suppress(OSError):
            os.unlink(path / name)
    for folder in (*path.glob(f"{RUNS}/*"), path / RUNS, path):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
