"""The files of one's own variants, kept in the run that was trained with them, so that it stays usable.

A run trained with ``--attention my_variant.py:MyAttention`` has a copy at ``variants/my_variant.py``. The run's model
is built from it as soon as the file has changed or is gone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attnrec.attention import parse_blocks, variant_file
from attnrec.errors import InputError, RunError

VARIANTS = "variants"


def variant_contents(attention: str) -> dict[str, bytes]:
    """Name and content of every file that ``attention`` names.

    Raises InputError if one cannot be read, or two have one name.
    """
    files: dict[Path, bytes] = {}
    for spec in parse_blocks(attention):
        file = variant_file(spec.name)
        if file is not None:
            files[file.resolve()] = _read(file)
    contents = {file.name: content for file, content in files.items()}
    if len(contents) < len(files):
        raise InputError(f"--attention {attention} names two files of one name; a run keeps a copy of each")
    return contents


def with_kept_variants(run: Path, attention: str) -> str:
    """``attention`` with every file that has changed since, or is gone, replaced by the copy in ``run``."""
    specs = []
    for spec in parse_blocks(attention):
        file = variant_file(spec.name)
        if file is not None and _has_changed(run, file):
            spec = replace(spec, name=spec.name.replace(str(file), str(run / VARIANTS / file.name), 1))
        specs.append(str(spec))
    return "+".join(specs)


def changed_variants(run: Path, attention: str) -> list[Path]:
    """The files that ``attention`` names of which ``run`` keeps a copy that differs."""
    files = [variant_file(spec.name) for spec in parse_blocks(attention)]
    return [file for file in files if file is not None and _has_changed(run, file)]


def _has_changed(run: Path, file: Path) -> bool:
    kept = run / VARIANTS / file.name
    return kept.is_file() and not (file.is_file() and _read(file) == _read(kept, RunError))


def _read(file: Path, error: type[InputError | RunError] = InputError) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise error(f"cannot read {file}: {problem.strerror or problem}") from problem
