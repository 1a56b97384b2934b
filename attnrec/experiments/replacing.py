"""Replaces a comparison in its folder: the old one is moved aside, and removed when the new one is complete."""

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

_OWN = (JSON_RESULT, MARKDOWN_RESULT, RUNS, PLAN)  # the plan last: it marks a comparison


@contextmanager
def claimed_anew(comparison: Comparison) -> Iterator[Comparison]:
    """Like `attnrec.experiments.compare.claimed`, but replaces the folder's comparison if there is one.

    The old one is kept in ``replaced-N`` in the folder until every run of the new one has a result. If a run has none
    at the end, the old one stays, with a `RunWarning`. Raises RunError if the old one cannot be moved.
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
    """Remove a comparison and its runs, but no other files."""
    for run in path.glob(f"{RUNS}/*/seed-*"):
        remove_run(run)
    for name in (JSON_RESULT, MARKDOWN_RESULT, PLAN):
        with contextlib.suppress(OSError):
            os.unlink(path / name)
    for folder in (*path.glob(f"{RUNS}/*"), path / RUNS, path):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
