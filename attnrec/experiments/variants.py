"""The variants of a comparison: what each has of its own, what it is called, and which of them are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnrec.core.errors import InputError
from attnrec.core.options import named
from attnrec.core.spec import Spec, Specs
from attnrec.models.base import MODELS
from attnrec.training.config import TrainConfig, declared
from attnrec.training.given import attention_of, model_of
from attnrec.training.kept_sources import asked_for
from attnrec.training.presets import with_preset

NAMING = ("model", "attention")
"""The options that say which variant it is; the others are what it has besides."""
_READING = ("features", "feature_columns")  # options of the data that leave interactions and split as they are
_SHARED = frozenset(
    {name for name, one in declared().items() if one.section == "data" and name not in _READING}
    | {"seed", "start_from", "select", "cutoffs", "device"}
)
"""Options that are one for all variants, or nothing could be compared."""


@dataclass(frozen=True, init=False)
class Variant:
    """A variant of a comparison with options of its own: ``Variant("rotary", label="rope", position=False)``.

    Attributes:
        options: of `TrainConfig` by name, ``attention`` or ``model`` among them; also a ``preset``.
        label: what it is called; by default its attention or model, and its other options.
    """

    options: Mapping[str, Any]
    label: str

    def __init__(self, attention: Any = None, *, label: str = "", **options: Any) -> None:
        named = ({} if attention is None else {"attention": attention}) | options
        for name, read in (("attention", attention_of), ("model", model_of)):
            if not isinstance(named.get(name, ""), str):  # a class, or a partial of one
                named[name] = read(named[name])
        object.__setattr__(self, "options", named)
        object.__setattr__(self, "label", label)

    @property
    def name(self) -> str:
        """The label, or what stands for one."""
        values = with_preset(self.options)
        further = [f"{name}={_word(value)}" for name, value in self.options.items() if name not in NAMING]
        named = " + ".join(_label(values[name]) for name in NAMING if name in values)
        return self.label or named + (f" ({', '.join(further)})" if further else "")


def _label(value: str | Spec | Specs) -> str:
    return value if isinstance(value, str) else value.label


def labelled(config: TrainConfig, variants: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """The options of each variant's own by its label; InputError for two that are the same, or that cannot be used."""
    found: dict[str, dict[str, Any]] = {}
    meanings: dict[Any, str] = {}
    folders: dict[str, str] = {}
    for given in variants:
        variant = given if isinstance(given, Variant) else Variant(given)
        own, label = _with_implied(config, variant), variant.name
        meaning = _meaning(config.changed(**own))
        if meaning in meanings:
            same = meanings[meaning]
            how = f"{same} and {label} are the same" if same != label else f"{label} is given twice"
            raise InputError(f"two identical variants: {how}")
        folder = folder_name(label)
        if folder in folders:
            raise InputError(f"{folders[folder]} and {label} would share a folder: give one of them another label")
        found[label], meanings[meaning], folders[folder] = own, label, label
    return found


def own_options(config: TrainConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` as values, checked together with the shared ones; no code of a variant is executed."""
    changed = config.changed(**options)
    return {name: changed.value(name) for name in options}


def folder_name(label: str) -> str:
    """A variant as the name of a folder."""
    return re.sub(r"[^\w.=,-]+", "_", label)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as what TOML and JSON take."""
    return {name: str(value) if isinstance(value, Spec | Specs) else value for name, value in options.items()}


def in_words(options: Mapping[str, Any]) -> str:
    """What a variant has besides its name, as keywords: ```position=False` `lr=0.0005```."""
    further = {name: value for name, value in plain(options).items() if name not in NAMING and not _idle(options, name)}
    return " ".join(named(name, value) for name, value in further.items())


def differing(config: TrainConfig, variants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each variant that differs in more than what it is: ``rope also has lr 0.0005 (others 0.001)``."""
    for label, own in variants.items():
        words = []
        for name, value in own.items():
            others = {_word(of.get(name, config.value(name))) for other, of in variants.items() if other != label}
            if name not in NAMING and others != {_word(value)} and not _idle(own, name):
                words.append(f"{name.replace('_', ' ')} {_word(value)} (others {' or '.join(sorted(others))})")
        if words:
            yield f"{label} also has {', '.join(words)}"


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _idle(own: Mapping[str, Any], name: str) -> bool:
    """Whether an option is only there because the variant's model does not use it (`_with_implied`)."""
    one = declared()[name]
    return "model" in own and one.section == "model" and own[name] == TrainConfig().value(name)


def _with_implied(config: TrainConfig, variant: Variant) -> dict[str, Any]:
    """The options of a variant as values, with what follows from them as it does in a training of its own.

    An option that takes another's value follows it; of an option that all share and that the variant's model does not
    use, the model has the default. InputError where one is missing, unknown or one for all.
    """
    for name in variant.options:
        if name in _SHARED:
            raise InputError(f"{variant.name}: {named(name)} is one for all variants, and cannot be one's own")
    given = with_preset(variant.options)
    if not given.keys() & set(NAMING):
        raise InputError(f"a variant needs an attention or a model, and {in_words(given) or variant.label} has neither")
    for name, one in declared().items():
        source = one.field.metadata.get("like")
        if source not in given or name in given or one.field.default is not None:
            continue
        if config.value(name) == config.value(str(source)):
            given[name] = None
    own = own_options(config, given)
    if "model" in own:
        uses, usual = MODELS.find(own["model"].name).uses, TrainConfig()
        for name, one in declared().items():
            unused = one.section == "model" and name not in {*uses, *own}
            if unused and config.value(name) != usual.value(name):
                own[name] = usual.value(name)
    return own


def _meaning(config: TrainConfig) -> tuple[Any, ...]:
    """The same for two variants that are trained in the same way, however they are written."""
    specs = asked_for(config.model)
    for registry, spec in specs:
        if registry.is_of_this_program(spec.name):
            raise InputError(
                f"{spec.name} is registered in this program only, and every run of a comparison is a program of its "
                "own: give it as FILE.py:CLASS or MODULE:CLASS"
            )
    parts = ((registry.find(spec.name), tuple(sorted(registry.options(spec).items()))) for registry, spec in specs)
    rest = {name: value for name, value in config.to_mapping().items() if name not in NAMING}
    return (*parts, *sorted(rest.items()))
