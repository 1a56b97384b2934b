"""`manifest.json`: which files make up a run, each with its SHA-256; written last, so that it never names what is not
there. What it does not name is not part of the run.

It has a checksum of itself, and a signature by which the user who wrote it knows it again (`attnrec.core.signing`). The
one before it is kept as `manifest.previous.json`, for the day when the newer one is damaged.
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
        number: counted up over the run.
        step: optimiser steps done.
        state: everything that going on from here needs.
        weights: the best on validation so far; None before the first evaluation.
        log_bytes, log_sha256: the part of `metrics.jsonl` written by then.
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
        files: SHA-256 by name, of what was written at the start.
        changing: a new SHA-256 by name, while such a file is being replaced.
        snapshots: newest first, two at most.
        result: SHA-256 by name, of what the end of a training wrote; empty while it goes on.
        diverged: why the training ended, where a loss, gradient or score was not finite; "" otherwise.
        failed: why it ended, where a component of one's own raised before the first evaluation; "" otherwise.
        nonfinite: SHA-256 by name, of what was kept of that step; empty where nothing was.
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
        """Whether the training ended by a fault of its own, so that another may take its folder."""
        return bool(self.diverged or self.failed)

    def sums(self, name: str) -> set[str]:
        """The checksums that a file may have; none if it does not belong to the run."""
        parts = (self.files, self.changing, self.result, self.nonfinite)
        return {part[name] for part in parts if name in part}


def write_manifest(folder: Path, manifest: Manifest, before: bytes | None, *, signed: bool) -> bytes:
    """Make ``manifest`` that of the run, and keep the content of the one ``before``; its content.

    ``signed``: whether this user stands for what it names. Raises RunError when it cannot be written.
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
    """The manifest of a run and its content; the previous one, with a `RunWarning`, where the last one is damaged.

    Raises RunError where neither can be used.
    """
    try:
        return _read(folder / MANIFEST)
    except (OSError, ValueError) as error:
        try:
            found = _read(folder / PREVIOUS)
        except (OSError, ValueError):
            raise RunError(f"{folder / MANIFEST} is {_state(error)}, and no earlier one can be used") from error
        warnings.warn(
            f"{folder / MANIFEST} is {_state(error)}: the one before it is used, and what came later is not seen",
            RunWarning,
            stacklevel=2,
        )
        return found


def is_run_of_another(folder: Path) -> bool:
    """Whether a folder looks like a run, and not like one that this user wrote."""
    # an incomplete copy has some of what a training leaves, and no manifest to say whose it is
    names = (MANIFEST, PREVIOUS, "vocabulary.json", "metrics.jsonl", "weights.safetensors", "state", "variants")
    if not any((folder / name).exists() for name in names):
        return False
    try:
        return not _read(folder / MANIFEST)[0].own
    except (OSError, ValueError):
        return True


def problem_of_previous(folder: Path) -> str:
    """What is wrong with the manifest that stands in for a damaged one, in a line; "" if it is whole or not there."""
    try:
        _read(folder / PREVIOUS)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{folder / PREVIOUS} is {_state(error)}: it could not stand in for {MANIFEST}"
    return ""


def _state(error: Exception) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _read(path: Path) -> tuple[Manifest, bytes]:
    """ValueError where the content is not a manifest."""
    if other := instead_of_file(path):
        raise ValueError(f"it is {other}")
    content = path.read_bytes()
    try:
        body = json.loads(content)
    except RecursionError:
        raise ValueError("it does not read") from None
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    checksum, signed = body.pop("checksum", None), body.pop("signature", None)
    if not isinstance(signed, str) or checksum != sha256(_canonical(body)):
        raise ValueError("its checksum is not that of its content")
    if body.pop("format", None) != _FORMAT:
        raise ValueError("it is of another version of attnrec")
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
    """ValueError where a name is not one of its kind, or something is not of its type: anybody can write a manifest."""
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
                raise ValueError(f"{name!r} is not a name of such a file in a run")
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
