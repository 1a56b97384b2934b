"""`attnrec variants`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, Optional, get_args, get_origin

import typer
from rich.padding import Padding

from attnrec.cli.output import print_json, results
from attnrec.cli.spelling import spelled
from attnrec.cli.terminal import escaped, styled
from attnrec.core.errors import InputError

if TYPE_CHECKING:
    from attnrec.attention import Component
    from attnrec.core.registry import Entry, Registry


def variants(
    name: Optional[str] = typer.Argument(
        None, help="A variant to describe, also FILE.py:CLASS or MODULE:CLASS; without it, all are listed."
    ),
    json: bool = typer.Option(False, "--json", help="Print the list as the last line of stdout."),
) -> None:
    """List the attention variants and the models, or describe one."""
    found = _all() if name is None else [_one(name)]
    if json:
        print_json({entry.name: _as_json(kind, entry) for kind, entry in found})
        return
    before = ""
    for kind, entry in found:
        if name is None and kind != before:
            results.print(f"--{kind}", style="bold underline")
        before = kind
        _show(entry)
        if name is not None and entry.component is not None:
            _describe(entry.component)


def _registries() -> list[Registry[Any]]:
    from attnrec.attention import ATTENTION
    from attnrec.models.build import MODELS

    return [ATTENTION, MODELS]


def _all() -> list[tuple[str, Entry[Any]]]:
    """Every registered component, with the option that takes it."""
    return [(registry.option, entry) for registry in _registries() for entry in registry.entries()]


def _one(name: str) -> tuple[str, Entry[Any]]:
    """A variant or a model, by its name or in a file or module."""
    from attnrec.core.registry import Entry
    from attnrec.core.spec import Spec

    for kind, entry in _all():
        if entry.name == name:
            return kind, entry
    problem: InputError | None = None
    for registry in _registries():
        place = Spec.parse(name).name
        try:
            cls = registry.find(place)
        except InputError as error:
            problem = problem or error
            continue
        return registry.option, Entry(place, inspect.getsourcefile(cls) or cls.__module__, cls)
    assert problem is not None
    raise problem


def _as_json(kind: str, entry: Entry[Any]) -> dict[str, Any]:
    shared: dict[str, Any] = {"kind": kind, "source": entry.source}
    if entry.component is None:
        return shared | {"error": entry.error}
    cls = entry.component
    return shared | {
        "summary": _summary(cls),
        "paper": cls.paper,
        "options": _options(cls),
        "weights": getattr(cls, "has_weights", False),
        "needs_timestamps": cls.needs_timestamps,
    }


def _show(entry: Entry[Any]) -> None:
    """Print a few lines: name and source, summary, paper, what it can do and needs, options."""
    results.print(styled((entry.name, "bold"), (f"  {entry.source}", "dim")))
    if entry.component is None:
        lines = [(f"cannot be used: {spelled(entry.error)}", "red")]
    else:
        cls = entry.component
        facts = [cls.paper, _abilities(cls), *(f"{key}: {text}" for key, text in _option_texts(cls).items())]
        lines = [(_summary(cls), ""), *((fact, "dim") for fact in facts if fact)]
    for line, style in lines:
        results.print(Padding(line, (0, 0, 0, 2)), style=style)


def _describe(cls: type[Component]) -> None:
    from rich.markdown import Markdown

    results.print()
    results.print(Markdown(escaped(_told(cls, inspect.getdoc(inspect.getmodule(cls))))))
    if own := _told(cls, inspect.getdoc(cls)).partition("\n")[2].strip():
        results.print(f"\n{own}", soft_wrap=True)


def _told(cls: type[Component], text: str | None) -> str:
    """A docstring of a component; if it is one of attnrec's, options are spelled as on the command line."""
    return spelled(text or "") if cls.__module__.startswith("attnrec.") else text or ""


def _summary(cls: type[Component]) -> str:
    # not inspect.getdoc: a class without a docstring would get that of the interface
    return _told(cls, cls.__doc__).strip().partition("\n")[0]


def _abilities(cls: type[Component]) -> str:
    said = []
    if not getattr(cls, "has_weights", True):
        said.append("no matrix of weights to plot")
    if cls.needs_timestamps:
        said.append("needs timestamps")
    return ", ".join(said)


def _options(cls: type[Component]) -> dict[str, dict[str, Any]]:
    from attnrec.core.registry import declared_options, option_type

    return {
        key: {"type": _type_text(option_type(option)), "default": option.default}
        for key, option in declared_options(cls).items()
    }


def _type_text(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return kind.__name__ if inspect.isclass(kind) else str(kind)


def _option_texts(cls: type[Component]) -> dict[str, str]:
    return {key: f"{option['type']} = {option['default']}" for key, option in _options(cls).items()}
