"""Where operators come from: built in, from installed packages, from a file, from a module.

| asked for as | found by |
|---|---|
| `NAME` | `register_attention`, as the built-in ones are, or an entry point of the group ``attnrec.attention`` |
| `FILE.py:CLASS`, or `FILE.py` with one operator in it | reading the file |
| `PACKAGE.MODULE:CLASS` | importing the module, also from the current directory |
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from attnrec.attention.operator import AttentionOperator, registered
from attnrec.errors import InputError, nearest
from attnrec.inputs import instead_of_file

GROUP = "attnrec.attention"
"""Entry-point group by which a package offers operators: ``name = "package.module:Class"``."""


@dataclass(frozen=True)
class Variant:
    """An operator that can be asked for by name.

    Attributes:
        name: for ``--attention``.
        source: ``built-in``, ``registered`` (by code that was imported), or the package that it comes from.
        operator: the class, or None where it cannot be used.
        error: why not, in a line.
    """

    name: str
    source: str
    operator: type[AttentionOperator] | None
    error: str = ""


def attention_names() -> list[str]:
    """Names that can be asked for, sorted; whether a plug-in's operator can be used is not looked at."""
    return sorted({*registered(), *_plugins()})


def variants() -> list[Variant]:
    """All operators with a name, sorted; a plug-in that cannot be used is among them, with the reason."""
    found = [Variant(name, _source(cls), cls) for name, cls in registered().items()]
    taken = {variant.name for variant in found}
    for name, points in _plugins().items():
        source = ", ".join(_package(point) for point in points)
        if name in taken:
            found.append(Variant(name, source, None, f"the name {name!r} is taken by a {_taken_by(name)} variant"))
            continue
        try:
            found.append(Variant(name, source, _from_plugins(name, points)))
        except InputError as error:
            found.append(Variant(name, source, None, str(error)))
    return sorted(found, key=lambda variant: variant.name)


def find_attention(name: str) -> type[AttentionOperator]:
    """The operator class of a name, file or module (see the head of this file).

    Raises InputError, in a line, where there is none or it cannot be loaded.
    """
    known = registered()
    if name in known:
        return known[name]
    if name in _of_sources:
        return _of_sources[name]
    place, _, attribute = name.partition(":")
    if place.endswith(".py"):
        return _operator_of(_load_file(place), attribute, place)
    if attribute:
        return _operator_of(_load_module(place), attribute, place)
    if points := _plugins().get(name):
        return _from_plugins(name, points)
    hint = f"; did you mean {name}.py?" if Path(f"{name}.py").is_file() else nearest(name, attention_names())
    raise InputError(f"unknown attention variant {name!r}{hint}")


def is_of_this_program(name: str) -> bool:
    """Whether another program would not find ``name``: it is registered by code that this one happens to have run."""
    return name in registered() and _source(registered()[name]) != "built-in" and name not in _plugins()


def variant_file(name: str) -> Path | None:
    """The file that an operator is read from, or None where it is asked for by a name or a module."""
    place = name.partition(":")[0]
    return Path(place) if place.endswith(".py") else None


# -- installed packages ------------------------------------------------------------------------------------


def _plugins() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP), key=_package):
        if point not in (known := found.setdefault(point.name, [])):
            known.append(point)
    return found


def _from_plugins(name: str, points: list[EntryPoint]) -> type[AttentionOperator]:
    if len(points) > 1:
        packages = " and ".join(_package(point) for point in points)
        raise InputError(f"the attention variant {name!r} is offered by {packages}; remove one")
    where = f"the attention variant {name!r} of {_package(points[0])}"
    with _failing_as(where):
        found = points[0].load()
    return _checked(found, where)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _source(cls: type[AttentionOperator]) -> str:
    return "built-in" if cls.__module__.startswith("attnrec.attention.") else "registered"


def _taken_by(name: str) -> str:
    return _source(registered()[name])


# -- files and modules -------------------------------------------------------------------------------------

_loaded: dict[Path, tuple[bytes, ModuleType]] = {}
_of_sources: dict[str, type[AttentionOperator]] = {}


def _load_file(place: str) -> ModuleType:
    """Run a file as a module; run again when it has changed."""
    path = Path(place).resolve()
    try:
        if other := instead_of_file(path):
            raise InputError(f"cannot read {place}: it is {other}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {place}: {error.strerror or error}") from error
    if path in _loaded and _loaded[path][0] == content:
        return _loaded[path][1]
    name = f"attnrec_variant_{path.stem}_{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"
    with _importable(path.parent):
        module = _executed(content, name, place)
    _loaded[path] = content, module
    return module


def operator_of_source(content: bytes, place: str, attribute: str) -> str:
    """Execute a source that has been read from ``place``, and give a name by which `find_attention` finds its operator.

    Nothing beside it can be imported. Raises InputError, in a line, where it cannot be loaded.
    """
    name = f"source-{hashlib.sha256(content).hexdigest()[:16]}-{attribute}"
    if name not in _of_sources:
        module = _executed(content, "attnrec_" + name.replace("-", "_"), place)
        _of_sources[name] = _operator_of(module, attribute, place)
    return name


def _executed(content: bytes, name: str, place: str) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, loader=None, origin=place)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = place
    sys.modules[name] = module  # dataclasses and pickle look it up there
    with _failing_as(place):
        exec(compile(content, place, "exec"), module.__dict__)
    return module


def _load_module(place: str) -> ModuleType:
    with _failing_as(f"the module {place}"), _importable(Path.cwd()):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            hint = nearest(place, attention_names())
            raise InputError(f"there is no attention variant and no module {place!r}{hint}") from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules of ``folder`` be imported, after all others."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _failing_as(where: str) -> Iterator[None]:
    """Any failure of somebody's code as one line; ``--debug`` shows where it comes from."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"{where} cannot be loaded: {type(error).__name__}: {message}{line}") from error


def _operator_of(module: ModuleType, attribute: str, place: str) -> type[AttentionOperator]:
    own = [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, AttentionOperator) and value.__module__ == module.__name__
    ]
    if not attribute:
        if len(own) != 1:
            if not own:
                raise InputError(f"{place} defines no subclass of attnrec.attention.AttentionOperator")
            raise InputError(f"{place} has {len(own)} operators: {', '.join(own)}; name one as {place}:CLASS")
        attribute = own[0]
    if not hasattr(module, attribute):
        raise InputError(f"{place} has no {attribute!r}{nearest(attribute, own)}")
    return _checked(getattr(module, attribute), f"{place}:{attribute}")


def _checked(found: Any, where: str) -> type[AttentionOperator]:
    if not (inspect.isclass(found) and issubclass(found, AttentionOperator)):
        raise InputError(f"{where} is not an AttentionOperator (attnrec.attention)")
    if inspect.isabstract(found):
        raise InputError(f"{where} does not define {', '.join(sorted(found.__abstractmethods__))}")
    return found
