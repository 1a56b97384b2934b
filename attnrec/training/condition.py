"""Is a run whole, how far did it get, and how can it be repaired?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from attnrec.core.errors import RunWarning
from attnrec.core.locks import holder
from attnrec.training.manifest import Snapshot, problem_of_previous
from attnrec.training.run_directory import NONFINITE, SUMMARY, TEST_RANKS, WEIGHTS, RunDirectory


@dataclass(frozen=True)
class Condition:
    """The condition of a run directory.

    Attributes:
        run: its path.
        state: ``finished``, ``interrupted`` (with a result so far), ``ended`` (one of these, but the result is
            damaged), ``diverged``, ``failed`` (in the user's own code, before it had a model) or ``unfinished``.
        step: the step of its newest snapshot.
        own: whether this user wrote it.
        in_use: the process that is writing it, in words; "" if there is none.
        files: what is wrong with each file, in one line; "" for a file that is whole.
        notes: problems that were worked around, such as a damaged manifest.
        advice: what to do, in words.
    """

    run: str
    state: str
    step: int
    own: bool
    in_use: str
    files: dict[str, str]
    notes: tuple[str, ...]
    advice: str

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged or missing."""
        return not self.notes and not any(self.files.values())


def condition_of(path: str | Path) -> Condition:
    """Check every file of a run.

    Raises:
        InputError: it is not a run.
        RunError: it has no usable manifest.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RunWarning)
        run = RunDirectory.open(path)
        files = run.condition()
        resumable = next(run.snapshots(), None) is not None
    notes = tuple(str(line.message) for line in said if "manifest" in str(line.message))
    if before := problem_of_previous(run.path):
        notes += (before,)
    manifest = run.manifest
    if manifest.diverged:
        state = "diverged"
    elif manifest.failed:
        state = "failed"
    elif not manifest.result:
        state = "unfinished"
    elif files[SUMMARY]:
        state = "ended"
    else:
        state = "interrupted" if run.result()["interrupted"] else "finished"
    return Condition(
        str(path),
        state,
        manifest.snapshots[0].step,
        manifest.own,
        holder(run.path),
        files,
        notes,
        _advice(state, files, resumable, manifest.snapshots[0]),
    )


def _advice(state: str, files: dict[str, str], resumable: bool, newest: Snapshot) -> str:
    made_again = {WEIGHTS, TEST_RANKS, SUMMARY, NONFINITE}
    damaged = [name for name, problem in files.items() if problem]
    of_newest = {stored.name for stored in (newest.state, newest.weights) if stored is not None}
    if not damaged:
        return {
            "finished": "",
            "ended": "",
            "interrupted": "`resume=True` continues it",
            "unfinished": "`resume=True` continues it",
            "failed": "fix the file, then train again in this folder",
            "diverged": "`resume=True` with another `lr` continues; `attnrec train` with `replay=RUN` shows the step",
        }[state]
    if not resumable or any(not name.startswith("state/") and name not in made_again for name in damaged):
        return "the damaged files cannot be restored: copy them back from a backup, or train again in another folder"
    if all(name.startswith("state/") and name not in of_newest for name in damaged):
        return "only an older snapshot is damaged, and nothing needs it while the newest one is intact"
    return "`resume=True` continues from the newest snapshot that is whole, and writes the result again"
