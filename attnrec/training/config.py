"""All options of a training, nested by component: the command line, `config.toml` and Python read them from here.

Each component declares its own options (`DataOptions`, `ModelOptions`, ...). Their names are all different, so on the
command line, in TOML and as keyword arguments they need no nesting.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_type_hints

from attnrec.core.errors import InputError, nearest
from attnrec.core.inputs import content_of
from attnrec.core.options import Options, named, shown
from attnrec.core.spec import Spec, Specs
from attnrec.data.options import DataOptions
from attnrec.evaluation.options import EvaluationOptions
from attnrec.models.options import ModelOptions
from attnrec.training.options import MachineOptions, TrainingOptions
from attnrec.training.presets import with_preset


@dataclass(frozen=True)
class TrainConfig:
    """Options of `attnrec train`; ``TrainConfig.of(dim=128, lr=5e-4)`` builds one from options by name."""

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    machine: MachineOptions = field(default_factory=MachineOptions)

    @classmethod
    def of(cls, **options: Any) -> TrainConfig:
        """Build from options by name, of any component; raises as `from_mapping`."""
        return cls.from_mapping(options)

    @classmethod
    def from_run(cls, values: dict[str, Any], source: str) -> TrainConfig:
        """As `from_mapping`, for a file that must hold all options; InputError if one is missing."""
        missing = sorted(declared().keys() - values.keys())
        if missing:
            raise InputError(f"{source} is damaged or was written by another version: it lacks {', '.join(missing)}")
        return cls.from_mapping(values, source)

    @classmethod
    def from_mapping(cls, values: dict[str, Any], source: str = "the configuration") -> TrainConfig:
        """Build from plain values as in TOML; given values override those of a ``preset``.

        Raises InputError for an unknown key or preset, or a value of the wrong type.
        """
        return cls()._with(with_preset(values), source, fresh=True)

    def changed(self, **options: Any) -> TrainConfig:
        """A copy with some options changed; raises as `from_mapping`."""
        return self._with(options, "options", fresh=False)

    def _with(self, values: dict[str, Any], source: str, *, fresh: bool) -> TrainConfig:
        """``fresh``: options that default to another option's value take it again unless they are given."""
        given: dict[str, dict[str, Any]] = {own.name: {} for own in fields(self)}
        for key, value in values.items():
            if key not in declared():
                raise InputError(f"{source}: unknown option {shown(key)}{nearest(key, list(declared()))}")
            one = declared()[key]
            given[one.section][key] = _convert(key, value, one.type, source)
        sections: dict[str, Any] = {name: getattr(self, name) for name in given}
        return TrainConfig(
            **{
                name: type(own)(**given[name]) if fresh else replace(own, **given[name])
                for name, own in sections.items()
            }
        )

    def value(self, name: str) -> Any:
        """The value of an option by its name."""
        return getattr(getattr(self, declared()[name].section), name)

    def to_mapping(self) -> dict[str, Any]:
        """All options as plain values, the inverse of `from_mapping`."""
        values = {name: self.value(name) for name in declared()}
        return {name: str(value) if isinstance(value, Spec | Specs) else value for name, value in values.items()}


@dataclass(frozen=True)
class Declared:
    """One option: its section of `TrainConfig`, its field and the type of its values."""

    section: str
    field: dataclasses.Field[Any]
    type: Any


@cache
def declared() -> dict[str, Declared]:
    """Every option of a training by name, in order; those for reading files come last."""
    found: list[Declared] = []
    for section, kind in get_type_hints(TrainConfig).items():
        assert issubclass(kind, Options)
        types = get_type_hints(kind)
        found += [Declared(section, own, types[own.name]) for own in fields(kind)]
    inherited = {own.name for base in DataOptions.__bases__ for own in fields(base)}
    found.sort(key=lambda one: one.field.name in inherited)
    return {one.field.name: one for one in found}


def read_toml(path: Path) -> dict[str, Any]:
    """The options in a TOML file; InputError if it is missing or malformed."""
    return parse_toml(content_of(path, path), str(path))


def parse_toml(content: bytes, source: str) -> dict[str, Any]:
    """The options in the content of a TOML file; InputError if it is malformed."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # some editors write a byte order mark
    except RecursionError:
        raise InputError(f"{source} is not a file of options: its values are nested too deeply") from None
    except ValueError as error:  # TOML errors, bytes that are not UTF-8, a number with thousands of digits
        raise InputError(f"{source} is not valid TOML: {error}") from error


def to_toml(values: dict[str, Any]) -> str:
    """Values as TOML: strings, numbers, booleans, lists of them, and lists of tables of them."""
    text = "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
    return text.replace("\x7f", "\\u007f")  # the only character that JSON does not escape and TOML refuses


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(own)}" for key, own in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and booleans are written as in JSON


def _convert(key: str, value: Any, wanted: Any, source: str) -> Any:
    if wanted in (Spec, Specs):
        if isinstance(value, wanted):
            return value
        if isinstance(value, str):
            return _parsed(key, value, wanted)
        return _of_classes(source, key, value)
    if isinstance(wanted, UnionType):  # an option that takes the value of another one if it is None
        if value is None:
            return None
        wanted = wanted.__args__[0]
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{source}: {key} must be a finite number") from None
    if wanted == tuple[str, ...]:
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InputError(f"{source}: {key} must be a list of strings, not {shown(value)}")
    if wanted == tuple[int, ...]:
        if isinstance(value, list | tuple) and all(type(item) is int for item in value):
            return tuple(value)
        raise InputError(f"{source}: {key} must be a list of whole numbers, not {shown(value)}")
    if type(value) is not wanted:
        raise InputError(f"{source}: {key} must be {wanted.__name__}, not {shown(value)}")
    return value


def _of_classes(source: str, key: str, value: Any) -> Spec | Specs:
    """The specification that stands for a class or a list of classes."""
    if isinstance(value, int | float | dict | None) or (isinstance(value, Sequence) and not value):
        raise InputError(f"{source}: {key} must be a string, not {shown(value)}")
    from attnrec.training.given import attention_of, model_of  # here, because it imports torch, which is slow

    return attention_of(value) if key == "attention" else model_of(value)


def _parsed(key: str, text: str, wanted: type[Spec] | type[Specs]) -> Spec | Specs:
    try:
        return wanted.parse(text)
    except InputError as error:
        raise InputError(f"{named(key)}: {error}") from error
