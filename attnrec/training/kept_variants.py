"""The sources of one's own variants, kept in the run that was trained with them, and who may have them executed.

A run trained with ``--attention my_variant.py:MyAttention`` has a copy at ``variants/my_variant.py``. The run's model
is built from it as soon as the file has changed or is gone. Of a variant from a module or an installed package there is
a copy of the module's file too, to tell that it has changed; the model is always built from what is installed.

A run that this user did not write executes nothing unless that is asked for, and then only what lies in the run itself
or is installed.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnrec.attention import (
    AttentionOperator,
    OperatorSpec,
    find_attention,
    operator_of_source,
    parse_blocks,
    variant_file,
)
from attnrec.errors import InputError, RunError
from attnrec.training.run_directory import VARIANTS, RunDirectory

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer


@dataclass(frozen=True)
class Variants:
    """What the operators of a model are built from.

    Attributes:
        specs: one for all blocks, or one for each.
        sources: name and content of the files that a run keeps a copy of.
    """

    specs: tuple[OperatorSpec, ...]
    sources: dict[str, bytes]


def named_variants(attention: str) -> Variants:
    """Those that ``attention`` names, as they are now.

    Raises InputError if one cannot be found or read, or two files have one name.
    """
    found = _sources(attention)
    sources = {_kept_name(spec.name, file): file for spec, file in found}
    if len(sources) < len({file for _, file in found}):
        raise InputError(f"--attention {attention} names two files of one name; a run keeps a copy of each")
    return Variants(parse_blocks(attention), {name: _read(file) for name, file in sources.items()})


def kept_variants(run: RunDirectory, attention: str, *, trust_code: bool = False) -> Variants:
    """Those of a run: where a file has changed since, or is gone, by the copy in the run.

    Of a run that somebody else wrote, it is always the copy.

    Raises:
        InputError: somebody else wrote the run, and its code is not trusted, or does not lie in the run.
        RunError: a copy is damaged.
    """
    specs = []
    own, kept = run.manifest.own, run.variant_files()
    for spec in parse_blocks(attention):
        file = variant_file(spec.name)
        if not own and (file is not None or ":" in spec.name):
            _check_foreign(run, spec, trust_code, file is None or file.name in kept)
        if file is not None and file.name in kept and not (own and _content(file) == kept[file.name]):
            attribute = spec.name.partition(":")[2]
            place = str(run.path / VARIANTS / file.name)
            spec = replace(spec, name=operator_of_source(kept[file.name], place, attribute))
        specs.append(spec)
    return Variants(tuple(specs), kept)


def error_of_variant(trainer: Trainer, error: BaseException) -> RunError | None:
    """An exception that the code of one's own variant has raised, as an error that says where; None for another."""
    own = {type(module).__module__ for module in trainer.model.modules() if isinstance(module, AttentionOperator)}
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") in own and not frame.f_globals["__name__"].startswith("attnrec.")
    ]
    if not frames or "out of memory" in str(error):
        return None
    frame, line = frames[-1]
    where = f"{Path(frame.f_code.co_filename).name}, line {line}, after step {trainer.steps_done}"
    return RunError(f"--attention {trainer.config.attention}: {type(error).__name__}: {error} ({where})")


def _check_foreign(run: RunDirectory, spec: OperatorSpec, trust_code: bool, within: bool) -> None:
    if not trust_code:
        raise InputError(
            f"{run} was not written by you, and its model is made by code of its own ({spec.name}): look at it first, "
            "and give --trust-code if it may be executed"
        )
    if not within:
        raise InputError(f"{run} was not written by you, and {spec.name} is outside it: only code in it is executed")


def changed_variants(run: RunDirectory, attention: str) -> list[Path]:
    """The files of variants in ``attention`` of which ``run`` keeps a copy that differs."""
    kept = run.variant_files()
    return [
        file
        for spec, file in _sources(attention)
        if (name := _kept_name(spec.name, file)) in kept and _content(file) != kept[name]
    ]


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


def _content(file: Path) -> bytes | None:
    return _read(file) if file.is_file() else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise InputError(f"cannot read {file}: {problem.strerror or problem}") from problem
