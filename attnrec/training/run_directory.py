"""A run directory: the files of a training, and how they are read.

| file | content |
|---|---|
| `config.toml` | every option, resolved |
| `vocabulary.json` | original ids (of users for user vectors) in the model's order; untrained items; titles |
| `metrics.jsonl` | one line per step (loss, grad_norm) and one per evaluation |
| `state/` | the last two snapshots: what resuming needs, and the best weights by then |
| `weights.safetensors` | the model at its best validation score; written when the training ends |
| `test_ranks.safetensors` | the rank of every user's test item at the chosen epoch |
| `summary.json` | the result |
| `nonfinite.safetensors` | the state before a step whose loss or gradient was not finite, if there was one |
| `variants/` | copies of the source files of the user's own variants, if there are any |
| `manifest.json` | the checksum of every file and of the data; written last (`attnrec.training.manifest`) |

A file is used only if its checksum matches the manifest. `RunWriter` (`writer.py`) writes the files.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from attnrec.core.errors import InputError, RunError, RunWarning
from attnrec.core.files import sha256
from attnrec.data.catalogue import Catalogue, ItemFeatures
from attnrec.evaluation.metrics import Ranks
from attnrec.evaluation.ranking import Evaluation
from attnrec.training.config import TrainConfig, parse_toml
from attnrec.training.manifest import MANIFEST, PREVIOUS, Manifest, Snapshot, StoredFile, read_manifest
from attnrec.training.summary import Summary
from attnrec.training.tensors import from_bytes

CONFIG, VOCABULARY, METRICS, STATE = "config.toml", "vocabulary.json", "metrics.jsonl", "state"
WEIGHTS, TEST_RANKS, SUMMARY = "weights.safetensors", "test_ranks.safetensors", "summary.json"
NONFINITE, VARIANTS = "nonfinite.safetensors", "variants"
OWN_NAMES = frozenset(
    {CONFIG, VOCABULARY, METRICS, STATE, WEIGHTS, TEST_RANKS, SUMMARY, NONFINITE, VARIANTS, MANIFEST, PREVIOUS}
)


@dataclass(frozen=True)
class Vocabulary:
    """Original ids: item i of the model is ``items[i - 1]``; ``users`` is empty unless the model knows users.

    ``untrained`` are the items that occur in no training history. ``titles`` has the title of each item, "" for one
    without, and is empty if the data have no titles. ``features`` has the values of each item by feature, and is empty
    unless the model uses them.
    """

    items: tuple[str, ...]
    users: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    features: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)

    def catalogue(self) -> Catalogue:
        """The sizes that the run's model was built for."""
        features = ItemFeatures.of(self.features) if self.features else None
        return Catalogue(len(self.items), len(self.users), features=features)

    def trained(self) -> npt.NDArray[np.bool_]:
        """Which items the model was trained on, [num_items + 1]; number 0 is padding."""
        untrained = set(self.untrained)
        return np.array([False, *(item not in untrained for item in self.items)])


class RunDirectory:
    """Reads the files of a run as they were when it was opened; see the top of this file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open an existing run.

        Raises:
            InputError: it is not a run.
            RunError: its manifest is damaged or missing.
        """
        run = cls(path)
        if not os.path.isdir(run.path):  # false for a name that is too long, where Path.is_dir raises
            raise InputError(f"there is no run directory {run}")
        if not run.is_run():
            if (run.path / CONFIG).is_file() and (run.path / VOCABULARY).is_file():
                raise RunError(
                    f"{run} has no {MANIFEST}: its training was stopped before the first snapshot (start it again), "
                    "or it was written by an earlier version of attnrec, or the file is lost"
                )
            if (run.path / "comparison.toml").is_file():
                raise InputError(f"{run} is a comparison; give one of the runs under {run.path / 'runs'}")
            raise InputError(f"{run} is not a run directory (it has no {MANIFEST})")
        for name in OWN_NAMES:
            if (run.path / name).is_symlink():
                raise InputError(f"{run.path / name} is a link; a run must hold its files itself")
        _ = run.manifest
        return run

    def is_run(self) -> bool:
        return any(os.path.isfile(self.path / name) for name in (MANIFEST, PREVIOUS))

    @cached_property
    def manifest(self) -> Manifest:
        """The files that make up the run; RunError if the manifest is damaged."""
        return read_manifest(self.path)[0]

    # -- what was written at the start -----------------------------------------------------------------

    def config(self) -> TrainConfig:
        path = self.path / CONFIG
        return TrainConfig.from_run(parse_toml(self._checked(CONFIG), str(path)), str(path))

    def vocabulary(self) -> Vocabulary:
        content = self._json(VOCABULARY)
        try:
            lists = {name: tuple(content[name]) for name in ("items", "users", "untrained", "titles")}
            return Vocabulary(**lists, features=dict(content["features"]))
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.path / VOCABULARY} was written by another version of attnrec") from error

    def variant_files(self) -> dict[str, bytes]:
        """Name and content of the kept source files of the user's own variants."""
        names = [name for name in self.manifest.files if name.startswith(f"{VARIANTS}/")]
        return {name.partition("/")[2]: self._checked(name) for name in names}

    # -- the progress of the training ------------------------------------------------------------------

    def snapshots(self) -> Iterator[tuple[Snapshot, bytes, bytes | None]]:
        """The snapshots that are whole, newest first, each with the content of its state and of its best weights.

        A `RunWarning` names each damaged one.
        """
        for snapshot in self.manifest.snapshots:
            try:
                self._log_until(snapshot)
                state = self._stored(snapshot.state)
                weights = None if snapshot.weights is None else self._stored(snapshot.weights)
            except RunError as error:
                self._warn(f"{error}; skipping the snapshot of step {snapshot.step}")
                continue
            yield snapshot, state, weights

    def weights(self) -> dict[str, Tensor]:
        """The best weights. If they are damaged, their copy or those of an earlier snapshot, with a `RunWarning`.

        Raises:
            InputError: the run has no weights yet.
            RunError: all of them are damaged.
        """
        candidates = [one.weights for one in self.manifest.snapshots if one.weights is not None]
        if result := self.manifest.result.get(WEIGHTS):
            copies = [file for file in candidates if file.sha256 == result]
            candidates = [StoredFile(WEIGHTS, result), *copies, *(file for file in candidates if file not in copies)]
        if not candidates:
            raise InputError(f"{self} has no weights yet: the run has not been evaluated")
        for place, file in enumerate(candidates):
            try:
                return self._tensors(self.path / file.name, self._stored(file))
            except RunError as error:
                if self._has_moved_on():
                    return self.weights()
                others = [other for other in candidates[place + 1 :] if other.name != file.name]
                if not others:
                    raise
                same = others[0].sha256 == file.sha256
                kind = "its copy" if same else "the best weights of an earlier snapshot"
                self._warn(f"{error}; using {kind}, {others[0].name}")
        raise AssertionError("the last candidate returns or raises")

    def log(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, including those that a running training wrote since its last snapshot.

        RunError if the part that the manifest records is damaged or missing.
        """
        try:
            content = self._log_until(self.manifest.snapshots[0])
        except RunError:
            if self._has_moved_on():
                return self.log()
            raise
        try:
            found = [json.loads(line) for line in content.splitlines()]
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.path / METRICS} is not what a training writes ({error})") from error
        if not self.manifest.result:
            found += _lines_of_log(self._read(METRICS)[len(content) :])
        return found

    def _log_until(self, snapshot: Snapshot) -> bytes:
        content = self._read(METRICS)[: snapshot.log_bytes]
        if len(content) < snapshot.log_bytes or sha256(content) != snapshot.log_sha256:
            raise RunError(f"{self.path / METRICS} is damaged or cut: it is not what the training wrote")
        return content

    # -- the result ------------------------------------------------------------------------------------

    def summary(self) -> Summary | None:
        """The result, or None while the run is unfinished."""
        there = self.is_run() and SUMMARY in self.manifest.result
        return cast(Summary, self._json(SUMMARY)) if there else None

    def result(self) -> Summary:
        """`summary` of a run that has one; InputError otherwise."""
        summary = self.summary()
        if summary is None:
            raise InputError(f"{self} has no {SUMMARY}: its training has not ended")
        return summary

    def finished(self) -> bool:
        """Whether there is a result, and the training was not interrupted."""
        summary = self.summary()
        return summary is not None and not summary["interrupted"]

    def test_ranks(self) -> Evaluation:
        """Ranks of the test items; InputError if the run has none yet, RunError if the file is damaged."""
        if TEST_RANKS not in self.manifest.result:
            raise InputError(f"{self} has no {TEST_RANKS}: its training has not ended")
        found = self._tensors(self.path / TEST_RANKS, self._checked(TEST_RANKS))
        try:
            full = Ranks(found["full_above"], found["full_tied"])
            return Evaluation(full, Ranks(found["sampled_above"], found["sampled_tied"]))
        except KeyError as error:
            raise RunError(f"{self.path / TEST_RANKS} was written by another version (it has no {error})") from error

    def nonfinite(self) -> bytes:
        """The state before the step that was not finite; InputError if there was none."""
        if NONFINITE not in self.manifest.nonfinite:
            raise InputError(f"{self} has no step to replay: every loss and gradient was finite")
        return self._checked(NONFINITE)

    def condition(self) -> dict[str, str]:
        """What is wrong with each file of the run, in one line; "" for a file that is whole."""
        files = dict.fromkeys([*self.manifest.files, *self.manifest.result, *self.manifest.nonfinite])
        checks: dict[str, Callable[[], Any]] = {name: partial(self._checked, name) for name in files}
        for snapshot in self.manifest.snapshots:
            checks[METRICS] = partial(self._log_until, self.manifest.snapshots[0])
            for file in (snapshot.state, snapshot.weights):
                if file is not None:
                    checks[file.name] = partial(self._stored, file)
        return {name: _complaint(check) for name, check in checks.items()}

    def problems(self) -> list[str]:
        """One line for every missing or damaged file; empty if the run is whole."""
        return [problem for problem in self.condition().values() if problem]

    # -- reading ---------------------------------------------------------------------------------------

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self._checked(name))
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.path / name} is not JSON ({error})") from error
        if not isinstance(content, dict):
            raise RunError(f"{self.path / name} is not a JSON object")
        return content

    @staticmethod
    def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
        try:
            return from_bytes(content)[0]
        except ValueError as error:
            raise RunError(f"{path} is not a safetensors file ({error})") from error

    def _stored(self, file: StoredFile) -> bytes:
        return self._with_sum(file.name, {file.sha256})

    def _checked(self, name: str) -> bytes:
        return self._with_sum(name, self.manifest.sums(name))

    def _with_sum(self, name: str, sums: set[str]) -> bytes:
        content = self._read(name)
        if sha256(content) not in sums:
            raise RunError(f"{self.path / name} is damaged or was changed: it is not what the training wrote")
        return content

    def _read(self, name: str) -> bytes:
        path = self.path / name
        try:
            if path.resolve() != self.path.resolve() / name:
                raise RunError(f"{path} is a link; a run must hold its files itself")
            if not path.is_file():
                raise RunError(f"{path} is missing")
            return path.read_bytes()
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error

    def _has_moved_on(self) -> bool:
        """Read the manifest again, and tell whether a training has changed it since it was last read."""
        before = self.__dict__.pop("manifest")
        return self.manifest != before

    def _warn(self, line: str) -> None:
        warnings.warn(line, RunWarning, stacklevel=3)


def _lines_of_log(content: bytes) -> list[dict[str, Any]]:
    """The lines of a part that no checksum covers, up to the first one that a training would not write."""
    found: list[dict[str, Any]] = []
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not (
            isinstance(values, dict) and type(values.get("epoch")) is int and (_is_step(values) or _is_valid(values))
        ):
            break
        found.append(values)
    return found


def _is_step(values: dict[str, Any]) -> bool:
    numbers = all(type(values.get(name)) is float for name in ("loss", "grad_norm"))
    return type(values.get("step")) is int and (numbers or "skipped" in values)


def _is_valid(values: dict[str, Any]) -> bool:
    valid = values.get("valid")
    parts = [valid.get(name) for name in ("full", "sampled")] if isinstance(valid, dict) else [None]
    return type(values.get("seconds")) is float and all(
        isinstance(part, dict) and part and all(type(value) is float for value in part.values()) for part in parts
    )


def _complaint(check: Callable[[], Any]) -> str:
    try:
        check()
    except RunError as error:
        return str(error)
    return ""
