"""Builds the component under test, and tells its refusals from bugs."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from torch import nn

from attnrec.core.errors import InputError
from attnrec.core.registry import Registry, declared_options
from attnrec.core.spec import Spec


@dataclass(frozen=True)
class Factory:
    """Builds a component from a specification, its class or a function that takes the same arguments.

    Attributes:
        source: the specification, class or function.
        registry: where a specification's name is looked up.
        name: its name in reports, if not derived from ``source``.
    """

    source: Spec | Callable[..., Any]
    registry: Registry[Any]
    name: str = ""

    def __str__(self) -> str:
        if self.name:
            return self.name
        if isinstance(self.source, Spec):
            return str(self.source)
        if not isinstance(self.source, functools.partial):
            return str(getattr(self.source, "__name__", self.source))
        options = ",".join(f"{key}={value}" for key, value in self.source.keywords.items())
        return f"{getattr(self.source.func, '__name__', self.source.func)}:{options}"

    @property
    def builder(self) -> Callable[..., Any]:
        """The class, or the function, without options."""
        if isinstance(self.source, Spec):
            found: Callable[..., Any] = self.registry.find(self.source.name)
            return found
        return self.source.func if isinstance(self.source, functools.partial) else self.source

    def declared(self, name: str, usual: Any) -> Any:
        """A class attribute, or ``usual`` if a function builds the component."""
        return getattr(self.builder, name, usual)

    def __call__(self, *shared: Any, impl: str | None = None, **further: Any) -> Any:
        """A new component; exceptions of its constructor are passed on unchanged.

        Args:
            shared: the positional arguments of every constructor of this kind.
            impl: overrides the component's option ``impl``.
            further: keyword arguments in addition to the options.
        """
        built = self._built(shared, {} if impl is None else {"impl": impl}, further)
        if not isinstance(built, self.registry.base):
            raise InputError(f"{self} returns {type(built).__name__}, not {self.registry.bases}")
        return built

    def _built(self, shared: tuple[Any, ...], changed: dict[str, str], further: dict[str, Any]) -> Any:
        if not isinstance(self.source, Spec):
            return self.source(*shared, **changed, **further)
        spec = self.source
        for name, value in changed.items():
            others = tuple((key, own) for key, own in spec.options if key != name)
            spec = replace(spec, options=(*others, (name, value)))
        return self.builder(*shared, **self.registry.options(spec, defaults=False), **further)

    def impls(self) -> tuple[str | None, tuple[str, ...]]:
        """The value of the option ``impl`` (None without that option) and its allowed values, if it declares them."""
        spec = self.source if isinstance(self.source, Spec) else None
        options = declared_options(self.builder if spec else self.source)  # type: ignore[arg-type]
        if "impl" not in options:
            return None, ()
        own = self.registry.options(spec)["impl"] if spec else options["impl"].default
        annotation = options["impl"].annotation
        return own, get_args(annotation) if get_origin(annotation) is Literal else ()

    def packages(self, example: nn.Module) -> frozenset[str]:
        """Top-level modules that hold the component's code: its classes and what builds it."""
        parts = [*type(example).__mro__, self.builder]
        names = {str(getattr(part, "__module__", "")).partition(".")[0] for part in parts}
        return frozenset(names - {"torch", "abc", "builtins"})


def takes(source: Callable[..., Any], count: int) -> bool:
    """Whether ``source`` can be called with ``count`` arguments, with or without the keyword ``features``."""
    asked: tuple[dict[str, Any], ...] = ({}, {"features": {}})
    for further in asked:
        try:
            inspect.signature(source).bind(*range(count), **further)
        except (TypeError, ValueError):  # it takes other arguments, or has no signature
            continue
        return True
    return False


def is_refusal(error: Exception, packages: Collection[str]) -> bool:
    """Whether this error is a deliberate refusal and not a bug.

    A refusal is an InputError, or a ValueError or TypeError from a ``raise`` statement in one of ``packages``. An error
    that comes from an expression (``math.sqrt(-1)``, unpacking a tuple of the wrong length) or from a library is a bug.
    """
    if isinstance(error, InputError):
        return True
    last = error.__traceback__
    if last is None or not isinstance(error, (TypeError, ValueError)):
        return False
    while last.tb_next is not None:
        last = last.tb_next
    stated = last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return stated and str(last.tb_frame.f_globals.get("__name__", "")).partition(".")[0] in packages
