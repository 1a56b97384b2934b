"""The sources of one's own variants, kept in the run that was trained with them.

A run trained with ``--attention my_variant.py:MyAttention`` has a copy at ``variants/my_variant.py``. The run's model
is built from it as soon as the file has changed or is gone. Of a variant from a module or an installed package there is
a copy of the module's file too, to tell that it has changed; the model is always built from what is installed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from attnrec.attention import OperatorSpec, find_attention, parse_blocks, variant_file
from attnrec.errors import InputError, RunError

VARIANTS = "variants"


def variant_contents(attention: str) -> dict[str, bytes]:
    """Name and content of the file of every variant that is not built in.

    Raises InputError if one cannot be read, or two have one name.
    """
    found = _sources(attention)
    sources = {_kept_name(spec.name, file): file for spec, file in found}
    if len(sources) < len({file for _, file in found}):
        raise InputError(f"--attention {attention} names two files of one name; a run keeps a copy of each")
    return {name: _read(file) for name, file in sources.items()}


def with_kept_variants(run: Path, attention: str) -> str:
    """``attention`` with every file that has changed since, or is gone, replaced by the copy in ``run``."""
    specs = []
    for spec in parse_blocks(attention):
        file = variant_file(spec.name)
        if file is not None and _has_changed(run, file, file.name):
            _, colon, cls = spec.name.partition(":")
            spec = replace(spec, name=f"{run / VARIANTS / file.name}{colon}{cls}")
        specs.append(str(spec))
    return "+".join(specs)


def changed_variants(run: Path, attention: str) -> list[Path]:
    """The files of variants in ``attention`` of which ``run`` keeps a copy that differs."""
    return [file for spec, file in _sources(attention) if _has_changed(run, file, _kept_name(spec.name, file))]


def _sources(attention: str) -> list[tuple[OperatorSpec, Path]]:
    """The file of each variant that is not built in."""
    found = []
    for spec in parse_blocks(attention):
        file = variant_file(spec.name)
        if file is None:
            cls = find_attention(spec.name)
            module = None if cls.__module__.startswith("attnrec.") else sys.modules.get(cls.__module__)
            source = getattr(module, "__file__", None)  # a notebook has none
            file = Path(source) if source else None
        if file is not None:
            found.append((spec, file.resolve()))
    return found


def _kept_name(name: str, file: Path) -> str:
    """A file keeps its name; a module gets its dotted one, as many packages have an ``attention.py``."""
    return file.name if variant_file(name) else f"{find_attention(name).__module__}.py"


def _has_changed(run: Path, file: Path, name: str) -> bool:
    kept = run / VARIANTS / name
    return kept.is_file() and not (file.is_file() and _read(file) == _read(kept, RunError))


def _read(file: Path, error: type[InputError | RunError] = InputError) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise error(f"cannot read {file}: {problem.strerror or problem}") from problem
