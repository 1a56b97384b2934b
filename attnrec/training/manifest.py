"""`manifest.json`: the files that make up a run, each with its SHA-256. It is written last, so that it never names a
missing file. Files that it does not name are not part of the run.

It holds its own checksum, and a signature that tells whether this user wrote it (`attnrec.core.signing`). The previous
manifest is kept as `manifest.previous.json`, in case the newer one is damaged.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attnrec.core.errors import RunError, RunWarning
from attnrec.core.files import replace_file, sha256, write_atomically
from attnrec.core.inputs import instead_of_file
from attnrec.core.signing import is_own, signature

MANIFEST, PREVIOUS = "manifest.json", "manifest.previous.json"
_FORMAT = 1
_SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredFile:
    """A file of a run, by its name in the run's folder, and the SHA-256 of its content."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """One moment of a training, between two steps.

    Attributes:
        number: number of the snapshot, counted over the run.
        step: optimiser steps done.
        state: everything needed to continue from here.
        weights: the best weights on validation so far; None before the first evaluation.
        log_bytes, log_sha256: length and checksum of the part of `metrics.jsonl` written by then.
    """

    number: int
    step: int
    state: StoredFile
    weights: StoredFile | None
    log_bytes: int
    log_sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a run consists of.

    Attributes:
        data: checksum of the interactions that it is trained on, times included.
        files: SHA-256 by name of the files written at the start.
        changing: new SHA-256 by name of files that are being replaced.
        snapshots: at most two, newest first.
        result: SHA-256 by name of the files written at the end of a training; empty while it runs.
        diverged: why the training ended, if a loss, gradient or score was not finite; "" otherwise.
        failed: why it ended, if the user's own component raised before the first evaluation; "" otherwise.
        nonfinite: SHA-256 by name of the kept state before the step that was not finite; empty if none was kept.
        own: whether this user wrote it.
    """

    data: str
    files: dict[str, str]
    snapshots: tuple[Snapshot, ...]
    changing: dict[str, str] = field(default_factory=dict)
    result: dict[str, str] = field(default_factory=dict)
    diverged: str = ""
    failed: str = ""
    nonfinite: dict[str, str] = field(default_factory=dict)
    own: bool = field(default=True, compare=False)

    @property
    def may_begin_again(self) -> bool:
        """Whether the training diverged or failed, so that a new one may begin in its folder."""
        return bool(self.diverged or self.failed)

    def sums(self, name: str) -> set[str]:
        """The checksums that a file may have; none if it does not belong to the run."""
        parts = (self.files, self.changing, self.result, self.nonfinite)
        return {part[name] for part in parts if name in part}


def write_manifest(folder: Path, manifest: Manifest, before: bytes | None, *, signed: bool) -> bytes:
    """Write ``manifest`` as that of the run, and ``before`` as the previous one; returns the new content.

    ``signed``: whether this user vouches for the files that it names. Raises RunError if it cannot be written.
    """
    body: dict[str, Any] = {"format": _FORMAT, **asdict(manifest)}
    del body["own"]
    checksum = sha256(_canonical(body))
    whole = body | {"checksum": checksum, "signature": signature(checksum) if signed else ""}
    content = json.dumps(whole, indent=1).encode() + b"\n"
    if before is not None:
        replace_file(folder / PREVIOUS, before)
    write_atomically(folder / MANIFEST, content)
    return content


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """The manifest of a run and its content; the previous one, with a `RunWarning`, if the last one is damaged.

    Raises RunError if neither can be used.
    """
    try:
        return _read(folder / MANIFEST)
    except (OSError, ValueError) as error:
        try:
            found = _read(folder / PREVIOUS)
        except (OSError, ValueError):
            raise RunError(f"{folder / MANIFEST} is {_state(error)}, and so is the previous one") from error
        warnings.warn(
            f"{folder / MANIFEST} is {_state(error)}: using the previous one, without anything written after it",
            RunWarning,
            stacklevel=2,
        )
        return found


_SURELY = (MANIFEST, PREVIOUS, "vocabulary.json", "metrics.jsonl", "weights.safetensors")  # files that only runs have


def is_run_of_another(folder: Path) -> bool:
    """Whether a folder looks like a run that this user did not write."""
    # an incomplete copy has some files of a run, but no manifest that says who wrote it
    if not any((folder / name).exists() for name in (*_SURELY, "state", "variants")):
        return False
    try:
        return not _read(folder / MANIFEST)[0].own
    except (OSError, ValueError):
        return True


def belongs_to_another(file: Path) -> bool:
    """Whether a file is in a run, or in a comparison with a run, that this user did not write."""
    folder, *above = file.resolve().parents
    if is_run_of_another(folder):
        return True
    runs = [one for one in above if any((one / name).exists() for name in _SURELY)]
    for one in (folder, *above):
        if (one / "comparison.toml").exists():
            runs += one.glob("runs/*/*")
    return any(map(is_run_of_another, runs))


def problem_of_previous(folder: Path) -> str:
    """What is wrong with the previous manifest, in one line; "" if it is whole or there is none."""
    try:
        _read(folder / PREVIOUS)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{folder / PREVIOUS} is {_state(error)}: it could not replace a damaged {MANIFEST}"
    return ""


def _state(error: Exception) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _read(path: Path) -> tuple[Manifest, bytes]:
    """The manifest and its content; ValueError if the content is not a manifest."""
    if other := instead_of_file(path):
        raise ValueError(f"it is {other}")
    content = path.read_bytes()
    try:
        body = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    checksum, signed = body.pop("checksum", None), body.pop("signature", None)
    if not isinstance(signed, str) or checksum != sha256(_canonical(body)):
        raise ValueError("its checksum does not match its content")
    if body.pop("format", None) != _FORMAT:
        raise ValueError("it was written by another version of attnrec")
    try:
        snapshots = tuple(_snapshot(entry) for entry in body.pop("snapshots"))
        manifest = Manifest(**body, snapshots=snapshots, own=is_own(checksum, signed))
        _check(manifest)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("it lacks something") from error
    return manifest, content


def _snapshot(entry: dict[str, Any]) -> Snapshot:
    weights = entry["weights"]
    return Snapshot(
        **entry | {"state": StoredFile(**entry["state"]), "weights": None if weights is None else StoredFile(**weights)}
    )


def _check(manifest: Manifest) -> None:
    """ValueError for an invalid name or type: anybody can write a manifest, so nothing in it is trusted."""
    stored = [file for one in manifest.snapshots for file in (one.state, one.weights) if file is not None]
    for pattern, names in (
        (r"config\.toml|vocabulary\.json|variants/[^/]+", manifest.files.items()),
        (r"config\.toml", manifest.changing.items()),
        (r"weights\.safetensors|test_ranks\.safetensors|summary\.json", manifest.result.items()),
        (r"nonfinite\.safetensors", manifest.nonfinite.items()),
        (r"state/[0-9]+(-weights)?\.safetensors", [(file.name, file.sha256) for file in stored]),
    ):
        for name, checksum in names:
            if not re.fullmatch(pattern, name) or name.endswith(("/.", "/..")) or "\0" in name:
                raise ValueError(f"{name!r} is not a valid name for this file of a run")
            name.encode()
            if not _SUM.fullmatch(checksum):
                raise ValueError(f"{name} has no checksum")
    for one in manifest.snapshots:
        numbers = (one.number, one.step, one.log_bytes)
        if not all(type(number) is int and number >= 0 for number in numbers) or not _SUM.fullmatch(one.log_sha256):
            raise ValueError("a snapshot has no number")
    texts = (manifest.data, manifest.diverged, manifest.failed)
    if not (manifest.snapshots and all(isinstance(text, str) for text in texts)):
        raise ValueError("it lacks something")
