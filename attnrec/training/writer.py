"""Writes a run directory so that it is whole at every moment, even if the process is killed or the disk is full.

A snapshot is written in this order, each step synced to the disk before the next: the log, the state and the best
weights under new names, then the manifest that names them. Until the new manifest is there, the previous snapshot is
the newest one. Files that no manifest names any more are removed last.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType

from torch import Tensor

from attnrec.core.errors import RunWarning
from attnrec.core.files import make_folder, replace_file, sha256, sync_folder
from attnrec.core.locks import FolderLock
from attnrec.evaluation.ranking import Evaluation
from attnrec.training.claiming import (
    DIVERGED,
    REPLACED,
    claimed,
    discard,
    is_of_state,
    is_own,
    remove_run,
    run_aside,
    run_back,
)
from attnrec.training.config import TrainConfig, to_toml
from attnrec.training.manifest import Manifest, Snapshot, StoredFile, read_manifest, write_manifest
from attnrec.training.metrics_log import MetricsLog
from attnrec.training.run_directory import (
    CONFIG,
    METRICS,
    NONFINITE,
    STATE,
    SUMMARY,
    TEST_RANKS,
    VARIANTS,
    VOCABULARY,
    WEIGHTS,
    RunDirectory,
    Vocabulary,
)
from attnrec.training.tensors import to_bytes

_KEPT = 2  # snapshots


class RunWriter:
    """The only writer of a run, which it locks; made by `create` or `resume`. Use it as a context manager."""

    def __init__(
        self,
        path: Path,
        lock: FolderLock,
        manifest: Manifest,
        content: bytes | None = None,
        log_size: int = 0,
        *,
        signed: bool = True,
    ) -> None:
        self.path, self.lock, self.manifest, self._content, self._signed = path, lock, manifest, content, signed
        self._is_new = content is None
        self._replaced: Path | None = None  # folder of the run that was here before
        self._result_step = max((one.step for one in manifest.snapshots), default=0) if manifest.result else 0
        self._best: tuple[bytes, StoredFile] | None = None
        self._number = max((one.number for one in manifest.snapshots), default=-1)  # number of the last snapshot
        self.log = MetricsLog(path / METRICS, log_size)

    @classmethod
    def create(
        cls,
        path: Path,
        config: TrainConfig,
        vocabulary: Vocabulary,
        sources: dict[str, bytes],
        data: str,
        *,
        overwrite: bool = False,
    ) -> RunWriter:
        """Start a run; it counts as a run from its first snapshot on.

        Args:
            path: the folder: new, empty, or with a run that diverged, which is moved into a subfolder.
            config: all options.
            vocabulary: the model's vocabulary.
            sources: name and content of the source files of the user's own variants.
            data: checksum of the data.
            overwrite: move an existing run aside, and remove it when this one has its result.

        Raises:
            InputError: the folder holds something else, or is in use.
            RunError: the folder cannot be written.
        """
        lock = claimed(path, overwrite=overwrite)
        try:
            aside = run_aside(path, REPLACED if overwrite else DIVERGED)
        except BaseException:
            lock.release()
            raise
        contents = {
            CONFIG: to_toml(config.to_mapping()).encode(),
            VOCABULARY: json.dumps(asdict(vocabulary)).encode(),
        } | {f"{VARIANTS}/{name}": content for name, content in sources.items()}
        try:
            for folder in [STATE, *([VARIANTS] if sources else [])]:
                make_folder(path / folder)
            for name, content in contents.items():
                replace_file(path / name, content)
            if sources:
                sync_folder(path / VARIANTS)
            sums = {name: sha256(content) for name, content in contents.items()}
            writer = cls(path, lock, Manifest(data, sums, ()))
            writer._replaced = aside if overwrite else None
            return writer
        except BaseException:
            discard(path, contents)
            if overwrite and aside is not None:
                run_back(path, aside)
            lock.release()
            raise

    @classmethod
    def resume(cls, run: RunDirectory, snapshot: Snapshot, lock: FolderLock, *, signed: bool) -> RunWriter:
        """Continue a locked run from a snapshot; lines of its log after the snapshot are cut off.

        ``signed``: whether this user vouches for the run from now on, because it is theirs or its code is trusted.
        """
        manifest, content = read_manifest(run.path)
        writer = cls(run.path, lock, manifest, content, snapshot.log_bytes, signed=signed)
        earlier = tuple(one for one in manifest.snapshots if one.number <= snapshot.number)
        config = sha256((run.path / CONFIG).read_bytes())  # the process may have been killed while changing it
        writer.manifest = replace(manifest, snapshots=earlier, files=manifest.files | {CONFIG: config}, changing={})
        return writer

    # -- while it trains -------------------------------------------------------------------------------

    def snapshot(self, step: int, state: bytes, weights: bytes | None) -> None:
        """Save a snapshot, and remove all but the previous one; RunError if it cannot be written.

        Args:
            step: optimiser steps done.
            state: the state to continue from.
            weights: the best weights so far.
        """
        before = self.manifest.snapshots
        self._number = number = self._number + 1
        size, checksum = self.log.sync()
        stored = self._store(f"{STATE}/{number}.safetensors", state)
        best = None if weights is None else self._stored_best(number, weights)
        sync_folder(self.path / STATE)
        if self._content is None:
            sync_folder(self.path)
        taken = Snapshot(number, step, stored, best, size, checksum)
        kept = (taken, *before)[:_KEPT]
        result = self.manifest.result if step < self._result_step else {}
        self._commit(replace(self.manifest, snapshots=kept, result=result, diverged="", failed="", nonfinite={}))
        self._clear()

    @property
    def has_result(self) -> bool:
        """Whether there is a result from an earlier session, at a step that the resumed run has not reached again."""
        return bool(self.manifest.result)

    def _stored_best(self, number: int, weights: bytes) -> StoredFile:
        """The file with these best weights; written only if no snapshot has them yet."""
        if self._best is None or self._best[0] is not weights:
            checksum = sha256(weights)
            known = [one.weights for one in self.manifest.snapshots if one.weights and one.weights.sha256 == checksum]
            stored = known[0] if known else self._store(f"{STATE}/{number}-weights.safetensors", weights)
            self._best = weights, stored
        return self._best[1]

    def change_config(self, config: TrainConfig) -> None:
        """Replace the options; RunError if they cannot be written."""
        content = to_toml(config.to_mapping()).encode()
        checksum = sha256(content)
        if self.manifest.files[CONFIG] == checksum and not self.manifest.changing:
            return
        self._commit(replace(self.manifest, changing={CONFIG: checksum}))
        replace_file(self.path / CONFIG, content)
        changed = self.manifest.files | {CONFIG: checksum}
        self._commit(replace(self.manifest, files=changed, changing={}))

    def diverged(self, why: str) -> None:
        """Record that a loss, gradient or score was not finite; RunError if it cannot be written."""
        self.log.flush()
        self._commit(replace(self.manifest, diverged=why, nonfinite={}))

    def failed(self, why: str) -> None:
        """Record that the user's own component raised before there was a model; RunError if it cannot be written."""
        self.log.flush()
        self._commit(replace(self.manifest, failed=why))

    def keep_nonfinite(self, content: bytes) -> None:
        """After `diverged`, keep the state before that step; RunError if it cannot be written."""
        replace_file(self.path / NONFINITE, content)
        self._commit(replace(self.manifest, nonfinite={NONFINITE: sha256(content)}))

    # -- at the end ------------------------------------------------------------------------------------

    def finish(self, weights: bytes, test: Evaluation, summary: Mapping[str, object]) -> None:
        """Write the result after the last snapshot; RunError if it cannot be written."""
        ranks: dict[str, Tensor] = {"full_above": test.full.above, "full_tied": test.full.tied}
        ranks |= {"sampled_above": test.sampled.above, "sampled_tied": test.sampled.tied}
        contents = {
            WEIGHTS: weights,
            TEST_RANKS: to_bytes(ranks),
            SUMMARY: (json.dumps(summary, indent=2) + "\n").encode(),
        }
        if self.manifest.result:
            self._commit(replace(self.manifest, result={}))  # the old result is about to be overwritten
        for name, content in contents.items():
            replace_file(self.path / name, content)
        self._commit(replace(self.manifest, result={name: sha256(content) for name, content in contents.items()}))
        self._clear()
        if self._replaced is not None and not summary["interrupted"]:
            remove_run(self._replaced)
            self._replaced = None

    def close(self) -> None:
        """Close the log and release the folder."""
        self.log.close()
        self.lock.release()
        if self._content is None:
            with contextlib.suppress(OSError):
                self.path.rmdir()  # fails, as it should, if there is anything in it

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        nothing_done = self._is_new and not self.log.end and not self.manifest.may_begin_again
        if self._content is None or (isinstance(error, Exception) and nothing_done):
            discard(self.path, self.manifest.files)
            self._content = None
            if self._replaced is not None:
                run_back(self.path, self._replaced)
                self._replaced = None
        self.close()
        if self._replaced is not None:
            warnings.warn(f"the earlier run in {self.path} is now in {self._replaced}", RunWarning, stacklevel=2)

    # -- parts -----------------------------------------------------------------------------------------

    def _store(self, name: str, content: bytes) -> StoredFile:
        replace_file(self.path / name, content)
        return StoredFile(name, sha256(content))

    def _commit(self, manifest: Manifest) -> None:
        self._content = write_manifest(self.path, manifest, self._content, signed=self._signed)
        self.manifest = manifest

    def _clear(self) -> None:
        """Remove snapshots that the manifest does not name, and files that a killed process left half written."""
        named = {file.name for one in self.manifest.snapshots for file in (one.state, one.weights) if file}
        state = [path for path in (self.path / STATE).iterdir() if is_of_state(path.name)]
        useless = [path for path in state if f"{STATE}/{path.name}" not in named]
        useless += [path for path in self.path.glob(".*.tmp") if is_own(path.name)]
        if not self.manifest.nonfinite:
            useless.append(self.path / NONFINITE)
        for path in useless:
            with contextlib.suppress(OSError):  # the next snapshot will try again
                os.unlink(path)
