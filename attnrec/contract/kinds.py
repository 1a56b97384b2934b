"""Finds out which kind a component is: an operator, a mixer or a model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

from attnrec.attention import ATTENTION, Component
from attnrec.core.errors import nearest
from attnrec.core.registry import Registry
from attnrec.core.spec import Spec
from attnrec.mixers import Mixer
from attnrec.models.base import SequentialModel
from attnrec.models.build import MODELS

Kind = Literal["operator", "mixer", "model"]

_SOURCES: Registry[Component] = Registry(
    "check",
    "component",
    Component,
    "AttentionOperator (attnrec.attention), Mixer (attnrec.mixers) or SequentialModel (attnrec.models.base)",
)
"""Loads files and modules that may hold any kind of component; no name is registered here."""


def kind_of(component: Spec | Callable[..., Any]) -> Kind:
    """The kind of a specification's component, or of a class; a function is assumed to build an operator.

    Raises InputError for a name that is neither an attention variant nor a model, or that cannot be loaded.
    """
    source = _found(component) if isinstance(component, Spec) else component
    source = source.func if isinstance(source, functools.partial) else source
    if inspect.isclass(source) and issubclass(source, Mixer):
        return "mixer"
    if inspect.isclass(source) and issubclass(source, SequentialModel):
        return "model"
    return "operator"


def _found(spec: Spec) -> type[Component]:
    name = spec.name.partition(":")[0]
    if name in MODELS.names() and name not in ATTENTION.names():
        return MODELS.find(spec.name)
    if spec.is_source and name not in ATTENTION.names():
        return _SOURCES.find(spec.name)
    close = [registry for registry in (ATTENTION, MODELS) if "did you mean" in nearest(name, registry.names())]
    # find raises an error that suggests the nearest name
    return MODELS.find(spec.name) if close == [MODELS] else ATTENTION.find(spec.name)
