"""Is a run whole, how far did it come, and what can be done with it?"""

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
        state: ``finished``, ``interrupted`` (with a result so far), ``ended`` (either of them: the result is
            damaged), ``diverged``, ``failed`` (in a file of one's own, before it had a model) or ``unfinished``.
        step: of its newest snapshot.
        own: whether this user wrote it.
        in_use: by whom it is being written, in words; "" by nobody.
        files: what is wrong with each file, in a line; "" for one that is whole.
        notes: what was got round, such as a damaged manifest.
        advice: what can be done, in words.
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
    """Look at every file of a run.

    Raises:
        InputError: it is no run.
        RunError: it has no manifest that can be used.
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
            "interrupted": "`resume=True` goes on",
            "unfinished": "`resume=True` goes on",
            "failed": "mend the file, and train again in this folder",
            "diverged": "`resume=True` goes on with another `lr`, and `attnrec train` with `replay=RUN` shows the step",
        }[state]
    if not resumable or any(not name.startswith("state/") and name not in made_again for name in damaged):
        return "what is damaged cannot be made again: put a copy back, or train anew in another folder"
    if all(name.startswith("state/") and name not in of_newest for name in damaged):
        return "only an older snapshot is damaged, and nothing needs it while the newest one is intact"
    return "`resume=True` goes on from the newest snapshot that is whole, and makes the result again"
