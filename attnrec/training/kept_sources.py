"""The sources of the user's variants and models, which a run keeps, and when they may be executed.

A run trained with ``attention='my_variant.py:MyAttention'`` has a copy at ``variants/my_variant.py``. The run's model
is built from the copy if the file has changed or is gone. For a variant from a module or an installed package, the run
keeps a copy of the module's file too, to detect changes, but the model is always built from the installed one.

Opening a run that this user did not write executes no code unless the user allows it, and then only code that is in the
run itself or installed.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrec.attention import ATTENTION, Component
from attnrec.core.errors import InputError, RunError
from attnrec.core.options import named
from attnrec.core.own_code import placed
from attnrec.core.registry import Registry
from attnrec.core.spec import Spec, Specs
from attnrec.models.base import MODELS
from attnrec.models.options import ModelOptions
from attnrec.training.run_directory import VARIANTS, RunDirectory

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer


@dataclass(frozen=True)
class Sources:
    """The sources that a model is built from.

    Attributes:
        model: its options, with names under which the registries find the model and its variants now.
        files: name and content of the files that a run keeps copies of.
    """

    model: ModelOptions
    files: dict[str, bytes]


def named_sources(config: ModelOptions) -> Sources:
    """The sources that ``config`` names, as they are now.

    Raises InputError if one cannot be found or read, or if two files have the same name.
    """
    found = list(_sources(config))
    files = {_kept_name(registry, spec, file): file for registry, spec, file in found}
    if len(files) < len({file for _, _, file in found}):
        raise InputError(
            f"{_asked(config)}: two files have the same name, and a run must keep a copy of each: rename one"
        )
    return Sources(config, {name: _read(file) for name, file in files.items()})


def kept_sources(run: RunDirectory, config: ModelOptions, *, trust_code: bool = False) -> Sources:
    """The sources of a run; if a file has changed since or is gone, the copy in the run is used.

    For a run that somebody else wrote, always the copy.

    Raises:
        InputError: somebody else wrote the run, and its code is not trusted, or is not in the run.
        RunError: a copy is damaged.
    """
    kept = run.variant_files()

    def found(registry: Registry[Any], spec: Spec) -> Spec:
        own, file = run.manifest.own, spec.file
        if not own and spec.is_source:
            _check_foreign(run, spec, trust_code, file is None or file.name in kept)
        if file is not None and file.name in kept and not (own and _content(file) == kept[file.name]):
            place = str(run.path / VARIANTS / file.name)
            return replace(spec, name=registry.add_source(kept[file.name], place, spec.attribute))
        return spec

    attention = Specs(tuple(found(ATTENTION, spec) for spec in config.attention.parts))
    return Sources(replace(config, model=found(MODELS, config.model), attention=attention), kept)


def error_of_own_code(trainer: Trainer, error: BaseException) -> RunError | None:
    """An exception raised by the code of the user's variant, as an error that says where; None for any other."""
    own = {type(module).__module__ for module in trainer.model.modules() if isinstance(module, Component)}
    own = {name for name in own if not name.startswith("attnrec.")}
    names = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)}
    if not own & names or "out of memory" in str(error):
        return None
    problem = RunError(f"{_asked(trainer.config.model)}: {type(error).__name__}: {error}")
    return placed(problem, error, own, f"after step {trainer.steps_done}")


def changed_sources(run: RunDirectory, config: ModelOptions) -> list[Path]:
    """The files of variants and models in ``config`` that differ from the copies in ``run``."""
    kept = run.variant_files()
    return [
        file
        for registry, spec, file in _sources(config)
        if (name := _kept_name(registry, spec, file)) in kept and _content(file) != kept[name]
    ]


def mended(run: RunDirectory, config: ModelOptions) -> bool:
    """Whether ``run`` failed before it had a model, and its source files have changed since."""
    manifest = run.manifest
    has_no_model = manifest.may_begin_again and all(one.weights is None for one in manifest.snapshots)
    return bool(has_no_model and changed_sources(run, config))


def asked_for(config: ModelOptions) -> list[tuple[Registry[Any], Spec]]:
    """The components that ``config`` names and its model uses, each with its registry."""
    found: list[tuple[Registry[Any], Spec]] = [(MODELS, config.model)]
    if "attention" in MODELS.find(config.model.name).uses:
        found += [(ATTENTION, spec) for spec in config.attention.parts]
    return found


def _asked(config: ModelOptions) -> str:
    """The model as an option, for messages."""
    attention = named("attention", config.attention)
    return attention if config.model == ModelOptions().model else f"{named('model', config.model)} {attention}"


def _check_foreign(run: RunDirectory, spec: Spec, trust_code: bool, within: bool) -> None:
    if not trust_code:
        raise InputError(
            f"{run} was not written by you, and its model runs code in it ({spec.name}): look at it first, "
            "and give `trust_code=True` to let it be executed"
        )
    if not within:
        raise InputError(
            f"{run} was not written by you, and {spec.name} is outside it: only code in the run is executed"
        )


def _sources(config: ModelOptions) -> Iterator[tuple[Registry[Any], Spec, Path]]:
    """The file of each component that is not built in."""
    for registry, spec in asked_for(config):
        file = spec.file
        if file is None:
            cls = registry.find(spec.name)
            module = None if cls.__module__.startswith("attnrec.") else sys.modules.get(cls.__module__)
            source = getattr(module, "__file__", None)  # None in a notebook
            file = Path(source) if source else None
        if file is not None:
            yield registry, spec, file.resolve()


def _kept_name(registry: Registry[Any], spec: Spec, file: Path) -> str:
    """A file keeps its name; a module's copy gets the dotted name, as many packages have an ``attention.py``."""
    return file.name if spec.file else f"{registry.find(spec.name).__module__}.py"


def _content(file: Path) -> bytes | None:
    return _read(file) if file.is_file() else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise InputError(f"cannot read {file}: {problem.strerror or problem}") from problem
