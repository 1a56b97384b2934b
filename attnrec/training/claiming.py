"""Claiming the folder of a new run: checking that it may begin there, and making room for it.

Files of an earlier run are moved into a subfolder: ``diverged-N``, where they stay, or ``replaced-N``, where they stay
until the new run has its result. Files of the user are never removed; those inside a subfolder
that moves, such as ``state``, move with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from attnrec.core.errors import InputError, RunError
from attnrec.core.files import make_folder, make_folders, sync_folder
from attnrec.core.locks import LOCK, FolderLock
from attnrec.training.manifest import MANIFEST, PREVIOUS, read_manifest
from attnrec.training.run_directory import METRICS, OWN_NAMES, STATE, VARIANTS, RunDirectory

DIVERGED, REPLACED = "diverged", "replaced"
_ASIDE = (f"{DIVERGED}-", f"{REPLACED}-")
_OF_A_RUN = (*sorted(OWN_NAMES - {MANIFEST}), MANIFEST)  # the manifest moves last: as long as it is there, the run is


def claimed(path: Path, *, overwrite: bool = False) -> FolderLock:
    """Lock a folder in which a run may begin; with ``overwrite``, it may hold a run to be replaced.

    Raises InputError if the folder holds anything else, or is in use.
    """
    if os.path.exists(path) and not path.is_dir():  # false for a name that is too long, which make_folders refuses
        raise InputError(f"{path} is not a directory")
    _check_free(path, overwrite)  # check before anything is written there
    make_folders(path)
    lock = FolderLock(path).acquire()
    try:
        _check_free(path, overwrite)  # check again: another process may have been faster
    except BaseException:
        lock.release()
        raise
    return lock


def _check_free(path: Path, overwrite: bool) -> None:
    """InputError unless the folder is empty, or its training diverged, failed or never began."""
    found = {entry.name for entry in path.iterdir()} if os.path.isdir(path) else set()
    run = RunDirectory(path)
    if not found or (run.is_run() and (overwrite or run.manifest.may_begin_again)):
        return
    begun_again = any(name.startswith(_ASIDE) and RunDirectory(path / name).is_run() for name in found)
    tried = LOCK in found or not found & OWN_NAMES
    if not run.is_run() and tried and (begun_again or all(map(is_own, found))):
        return  # a training ended before its first snapshot, so nothing of value is lost
    what = "a run; continue it with `resume=True`, replace it with `overwrite=True`, or" if run.is_run() else "files;"
    raise InputError(f"{path} already holds {what} choose another `out`")


def is_own(name: str) -> bool:
    """Whether a file or folder of this name in a run's folder is attnrec's, complete or half written."""
    half_written = name.startswith(".") and name.endswith(".tmp")
    return is_aside(name) or name == LOCK or (name[1:].rsplit(".", 2)[0] if half_written else name) in OWN_NAMES


def is_aside(name: str) -> bool:
    """Whether this is the name of a folder for files that were, or are being, moved aside."""
    return name.removeprefix(".").startswith(_ASIDE)


def is_of_state(name: str) -> bool:
    """Whether a file of this name in ``state`` is attnrec's, complete or half written."""
    return re.fullmatch(r"\.?[0-9]+(-weights)?\.safetensors(\.[0-9]+\.tmp)?", name) is not None


# -- making room -------------------------------------------------------------------------------------------


def run_aside(path: Path, kind: str) -> Path | None:
    """Move the files of a run aside, if there is one; returns their new folder. Raises as `moved_aside`."""
    if RunDirectory(path).is_run() or any(path.glob(f".{kind}-*")):
        return moved_aside(path, kind, _OF_A_RUN)
    return None


def moved_aside(path: Path, kind: str, names: Sequence[str]) -> Path:
    """Move those of ``names`` that exist, in this order, into a new folder ``KIND-N``; returns that folder.

    Raises RunError if that fails; the files already moved are then moved back.
    """
    number = next(n for n in range(1, 1 << 20) if not (path / f"{kind}-{n}").exists())
    hidden, final = path / f".{kind}-{number}", path / f"{kind}-{number}"
    make_folder(hidden)  # it may exist already, with some of the files, if an earlier attempt was killed
    try:
        for name in names:
            if os.path.lexists(path / name):
                os.replace(path / name, hidden / name)
        sync_folder(hidden)
        os.replace(hidden, final)
        sync_folder(path)
    except (OSError, RunError) as error:
        move_back(path, hidden if hidden.exists() else final, names)
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"cannot move the files of {path} to {hidden}: {reason or error}") from error
    return final


def run_back(path: Path, aside: Path) -> None:
    """Undo `run_aside`, as far as possible."""
    move_back(path, aside, _OF_A_RUN)


def move_back(path: Path, aside: Path, names: Sequence[str]) -> None:
    """Undo `moved_aside`, as far as possible."""
    with contextlib.suppress(OSError, RunError):
        for name in names:
            if os.path.lexists(aside / name):
                os.replace(aside / name, path / name)
        os.rmdir(aside)
        sync_folder(path)


# -- removing ----------------------------------------------------------------------------------------------


def remove_run(path: Path) -> None:
    """Remove a replaced run: the files that its manifest names, and its folder if that is then empty.

    Files that cannot be removed stay.
    """
    named: list[str] = []
    with contextlib.suppress(RunError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run may be damaged
        manifest = read_manifest(path)[0]
        named = [*manifest.files, *manifest.result, *manifest.nonfinite]
    discard(path, [*named, LOCK])
    with contextlib.suppress(OSError):
        os.rmdir(path)


def discard(path: Path, written: Iterable[str]) -> None:
    """Remove a run's log, snapshots and manifest, and the files named in ``written``; other files stay."""
    state = path / STATE
    snapshots = [] if state.is_symlink() or not state.is_dir() else [*state.iterdir()]
    own = [file for file in snapshots if is_of_state(file.name)]
    for file in (path / MANIFEST, path / PREVIOUS, path / METRICS, *(path / name for name in written), *own):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
    for folder in (state, path / VARIANTS):
        with contextlib.suppress(OSError):
            folder.rmdir()  # fails, as it should, if the user has files in it or it is a link
