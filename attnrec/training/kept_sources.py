"""The sources of one's own variants and models, kept in the run that was trained with them, and who may execute them.

A run trained with ``attention='my_variant.py:MyAttention'`` has a copy at ``variants/my_variant.py``. The run's model
is built from it as soon as the file has changed or is gone. Of a variant from a module or an installed package there is
a copy of the module's file too, to tell that it has changed; the model is always built from what is installed.

A run that this user did not write executes nothing unless that is asked for, and then only what lies in the run itself
or is installed.
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
    """What a model is built from.

    Attributes:
        model: its options, with names by which the model and its variants are found now.
        files: name and content of the files that a run keeps a copy of.
    """

    model: ModelOptions
    files: dict[str, bytes]


def named_sources(config: ModelOptions) -> Sources:
    """Those that ``config`` names, as they are now.

    Raises InputError if one cannot be found or read, or two files have one name.
    """
    found = list(_sources(config))
    files = {_kept_name(registry, spec, file): file for registry, spec, file in found}
    if len(files) < len({file for _, _, file in found}):
        raise InputError(f"{_asked(config)} names two files of one name; a run keeps a copy of each")
    return Sources(config, {name: _read(file) for name, file in files.items()})


def kept_sources(run: RunDirectory, config: ModelOptions, *, trust_code: bool = False) -> Sources:
    """Those of a run: where a file has changed since, or is gone, by the copy in the run.

    Of a run that somebody else wrote, it is always the copy.

    Raises:
        InputError: somebody else wrote the run, and its code is not trusted, or does not lie in the run.
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
    """An exception that the code of one's own variant has raised, as an error that says where; None for another."""
    own = {type(module).__module__ for module in trainer.model.modules() if isinstance(module, Component)}
    own = {name for name in own if not name.startswith("attnrec.")}
    names = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)}
    if not own & names or "out of memory" in str(error):
        return None
    problem = RunError(f"{_asked(trainer.config.model)}: {type(error).__name__}: {error}")
    return placed(problem, error, own, f"after step {trainer.steps_done}")


def changed_sources(run: RunDirectory, config: ModelOptions) -> list[Path]:
    """The files of variants and models in ``config`` of which ``run`` keeps a copy that differs."""
    kept = run.variant_files()
    return [
        file
        for registry, spec, file in _sources(config)
        if (name := _kept_name(registry, spec, file)) in kept and _content(file) != kept[name]
    ]


def mended(run: RunDirectory, config: ModelOptions) -> bool:
    """Whether ``run`` came to no model, and the files that it failed with have changed since."""
    manifest = run.manifest
    came_to_nothing = manifest.may_begin_again and all(one.weights is None for one in manifest.snapshots)
    return bool(came_to_nothing and changed_sources(run, config))


def asked_for(config: ModelOptions) -> list[tuple[Registry[Any], Spec]]:
    """The components that ``config`` names, each with where it is registered; those that its model uses only."""
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
            f"{run} was not written by you, and its model is made by code of its own ({spec.name}): look at it first, "
            "and give `trust_code=True` if it may be executed"
        )
    if not within:
        raise InputError(f"{run} was not written by you, and {spec.name} is outside it: only code in it is executed")


def _sources(config: ModelOptions) -> Iterator[tuple[Registry[Any], Spec, Path]]:
    """The file of each component that is not built in."""
    for registry, spec in asked_for(config):
        file = spec.file
        if file is None:
            cls = registry.find(spec.name)
            module = None if cls.__module__.startswith("attnrec.") else sys.modules.get(cls.__module__)
            source = getattr(module, "__file__", None)  # a notebook has none
            file = Path(source) if source else None
        if file is not None:
            yield registry, spec, file.resolve()


def _kept_name(registry: Registry[Any], spec: Spec, file: Path) -> str:
    """A file keeps its name; a module gets its dotted one, as many packages have an ``attention.py``."""
    return file.name if spec.file else f"{registry.find(spec.name).__module__}.py"


def _content(file: Path) -> bytes | None:
    return _read(file) if file.is_file() else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise InputError(f"cannot read {file}: {problem.strerror or problem}") from problem
