"""The variants of a comparison: their own options, their labels, and which of them are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnrec.core.arguments import text
from attnrec.core.errors import InputError
from attnrec.core.options import check_text, named, shown
from attnrec.core.spec import Spec, Specs
from attnrec.models.base import MODELS
from attnrec.training.config import TrainConfig, declared
from attnrec.training.given import attention_of, model_of
from attnrec.training.kept_sources import asked_for
from attnrec.training.presets import with_preset

_LONGEST_LABEL = 200
NAMING = ("model", "attention")
"""The options that name a variant; the others are its further options."""
_READING = ("features", "feature_columns")  # data options that do not change interactions or split
_SHARED = frozenset(
    {name for name, one in declared().items() if one.section == "data" and name not in _READING}
    | {"seed", "start_from", "select", "cutoffs", "device"}
)
"""Options that must be the same for all variants, otherwise they cannot be compared."""


@dataclass(frozen=True, init=False)
class Variant:
    """A variant of a comparison with its own options: ``Variant("rotary", label="rope", position=False)``.

    Attributes:
        options: options of `TrainConfig` by name, including ``attention`` or ``model``; also a ``preset``.
        label: its name in tables; by default its attention or model, and its other options.
    """

    options: Mapping[str, Any]
    label: str

    def __init__(self, attention: Any = None, *, label: str = "", **options: Any) -> None:
        check_label(label)
        named = ({} if attention is None else {"attention": attention}) | options
        for name, read in (("attention", attention_of), ("model", model_of)):
            if not isinstance(named.get(name, ""), str):  # a class, or a partial of one
                named[name] = read(named[name])
        object.__setattr__(self, "options", named)
        object.__setattr__(self, "label", label)

    @property
    def name(self) -> str:
        """The label, or one made from the options."""
        values = with_preset(self.options)
        further = [f"{name}={_word(value)}" for name, value in self.options.items() if name not in NAMING]
        named = " + ".join(_label(values[name]) for name in NAMING if name in values)
        return self.label or named + (f" ({', '.join(further)})" if further else "")


def _label(value: str | Spec | Specs) -> str:
    return value if isinstance(value, str) else value.label


def check_label(label: object) -> None:
    """InputError for a label that no folder can be named after; "" stands for none."""
    check_text("the label", text("label", label))
    if len(str(label).encode()) > _LONGEST_LABEL:
        raise InputError(f"the label must have at most {_LONGEST_LABEL} bytes, because a folder is named after it")
    if label and not any(map(str.isalnum, str(label))):
        raise InputError(f"the label {shown(label)} has neither letters nor digits")


def labelled(config: TrainConfig, variants: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Each variant's own options by label; InputError if two variants are the same, or one cannot be used."""
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
    """``options`` as parsed values, checked together with the shared ones; no code of a variant is executed."""
    changed = config.changed(**options)
    return {name: changed.value(name) for name in options}


def folder_name(label: str) -> str:
    """A variant's label as the name of a folder."""
    return re.sub(r"[^\w.=,-]+", "_", label)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as values for TOML and JSON."""
    return {name: str(value) if isinstance(value, Spec | Specs) else value for name, value in options.items()}


def in_words(options: Mapping[str, Any]) -> str:
    """A variant's further options as keywords: ```position=False` `lr=0.0005```."""
    further = {name: value for name, value in plain(options).items() if name not in NAMING and not _idle(options, name)}
    return " ".join(named(name, value) for name, value in further.items())


def differing(config: TrainConfig, variants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each variant that differs in further options: ``rope also has lr 0.0005 (others 0.001)``."""
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
    """The options of a variant as values, with those that follow from them, as in a training of this variant only.

    An option that defaults to another one's value follows it. A shared option that the variant's model does not use
    gets its default. InputError if an option is missing, unknown or must be the same for all.
    """
    for name in variant.options:
        if name in _SHARED:
            raise InputError(f"{variant.name}: {named(name)} must be the same for all variants; set it for all")
    given = with_preset(variant.options)
    if not given.keys() & set(NAMING):
        which = in_words(given) or variant.label or "one of them"
        raise InputError(f"a variant needs an attention or a model, but {which} has neither")
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
    """A key that is equal for two variants exactly if they are trained in the same way."""
    specs = asked_for(config.model)
    for registry, spec in specs:
        if registry.is_of_this_program(spec.name):
            raise InputError(
                f"{spec.name} is only registered in this process, but each run of a comparison has its own process: "
                "give it as FILE.py:CLASS or MODULE:CLASS"
            )
    parts = ((registry.find(spec.name), tuple(sorted(registry.options(spec).items()))) for registry, spec in specs)
    rest = {name: value for name, value in config.to_mapping().items() if name not in NAMING}
    return (*parts, *sorted(rest.items()))
