"""Where components come from: built in, an installed package, a file, or a module.

| asked for as | found by |
|---|---|
| `NAME` | `Registry.register`, like the built-in ones, or an entry point of the registry's group |
| `FILE.py:CLASS`, or `FILE.py` if it has one such class | reading the file |
| `PACKAGE.MODULE:CLASS` | importing the module, also from the current directory |

A component's options are the keyword-only arguments of its constructor, each with a type and a default.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from attnrec.core.errors import InputError, is_out_of_memory, nearest
from attnrec.core.loading import failing_as, load_file, load_module, run_source
from attnrec.core.options import named
from attnrec.core.own_code import defined_here, is_raised, placed
from attnrec.core.spec import Spec
from attnrec.core.values import converted

T = TypeVar("T")
_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A component that can be asked for by name.

    Attributes:
        name: as in a `Spec`.
        source: ``built-in``, ``registered`` (by code that was imported), or the package that it comes from.
        component: the class, or None if it cannot be used.
        error: why not, in one line.
    """

    name: str
    source: str
    component: type[T] | None
    error: str = ""


class Registry(Generic[T]):
    """The components of one kind.

    Args:
        option: the option that asks for them: ``attention``.
        noun: what one of them is called: ``attention variant``.
        base: the class that all of them derive from.
        bases: the classes to inherit from, in words for messages.
    """

    def __init__(self, option: str, noun: str, base: type[T], bases: str) -> None:
        self.option, self.noun, self.base, self.bases = option, noun, base, bases
        self.group = f"attnrec.{option}"
        """Entry-point group by which a package offers components: ``name = "package.module:Class"``."""
        self._registered: dict[str, type[T]] = {}
        self._of_sources: dict[str, type[T]] = {}

    # -- by name ---------------------------------------------------------------------------------------

    def register(self, name: str) -> Callable[[_Class], _Class]:
        """Class decorator that makes a component available under ``name``.

        Raises ValueError if the name is taken. A class of the same notebook, or an earlier version of the same class
        in a script, is replaced instead.
        """

        def register(cls: _Class) -> _Class:
            before = self._registered.get(name)
            again = before is not None and before.__module__ == cls.__module__ == "__main__"
            in_notebook = not hasattr(sys.modules["__main__"], "__file__")
            if before is not None and not (again and (in_notebook or before.__qualname__ == cls.__qualname__)):
                raise ValueError(f"the {self.noun} {name!r} is already registered by {before}")
            self._registered[name] = cls
            return cls

        return register

    def registered(self) -> dict[str, type[T]]:
        """The registered components by name."""
        return dict(self._registered)

    def names(self) -> list[str]:
        """Names that can be asked for, sorted. Plug-ins are listed without being loaded."""
        return sorted({*self._registered, *self._plugins()})

    def entries(self) -> list[Entry[T]]:
        """All components with a name, sorted, including plug-ins that cannot be used, with the reason."""
        found = [Entry(name, _source(cls), cls) for name, cls in self._registered.items()]
        for name, points in self._plugins().items():
            source = ", ".join(_package(point) for point in points)
            if name in self._registered:
                taken = f"the name {name!r} is taken by a {_source(self._registered[name])} {self.noun}"
                found.append(Entry(name, source, None, taken))
                continue
            try:
                found.append(Entry(name, source, self._from_plugins(name, points)))
            except InputError as error:
                found.append(Entry(name, source, None, str(error)))
        return sorted(found, key=lambda entry: entry.name)

    def find(self, name: str) -> type[T]:
        """The class of a name, file or module (see the top of this file).

        Raises InputError, in one line, if there is none or it cannot be loaded.
        """
        if name in self._registered:
            return self._registered[name]
        if name in self._of_sources:
            return self._of_sources[name]
        place, _, attribute = name.partition(":")
        if place.endswith(".py"):
            return self._class_of(load_file(place), attribute, place)
        if attribute and place in self.names():
            raise InputError(f"{named(self.option)} {name!r}: {attribute!r} is not of the form option=value")
        if attribute:
            module = load_module(place)
            if module is None:
                raise InputError(f"there is no {self.noun} and no module {place!r}{nearest(place, self.names())}")
            return self._class_of(module, attribute, place)
        if points := self._plugins().get(name):
            return self._from_plugins(name, points)
        raise InputError(f"unknown {self.noun} {name!r}{self._hint(name)}")

    def is_of_this_program(self, name: str) -> bool:
        """Whether only this program can find ``name``, because code that it ran registered it."""
        own = self._registered.get(name)
        return own is not None and _source(own) != "built-in" and name not in self._plugins()

    def add_source(self, content: bytes, place: str, attribute: str) -> str:
        """Execute a source that was read from ``place``; returns a name by which `find` finds its component.

        Files next to it cannot be imported. Raises InputError, in one line, if it cannot be loaded.
        """
        name = f"source-{hashlib.sha256(content).hexdigest()[:16]}-{attribute}"
        if name not in self._of_sources:
            module = run_source(content, f"attnrec_{self.option}_{name.replace('-', '_')}", place)
            self._of_sources[name] = self._class_of(module, attribute, place)
        return name

    def _hint(self, name: str) -> str:
        """What the user may have meant: a file of that name, a class in a file of this folder, or a similar name."""
        if os.path.isfile(f"{name}.py"):  # false for a name that is too long, where Path.is_file raises
            return f"; did you mean {name}.py?"
        parents = {parent.__name__ for cls in (self.base, *self._registered.values()) for parent in cls.__mro__}
        here = list(defined_here(parents - {"object", "Module", "ABC"}))
        close = difflib.get_close_matches(name.lower(), [text.lower() for text in here], n=3, cutoff=0.4)
        own = [text for text in here if text.lower() in close] or here[:3]
        return nearest(name, self.names()) + (f"; in this folder: {', '.join(own)}" if own else "")

    # -- installed packages ----------------------------------------------------------------------------

    def _plugins(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in sorted(entry_points(group=self.group), key=_package):
            if point not in (known := found.setdefault(point.name, [])):
                known.append(point)
        return found

    def _from_plugins(self, name: str, points: list[EntryPoint]) -> type[T]:
        if len(points) > 1:
            packages = " and ".join(_package(point) for point in points)
            raise InputError(f"the {self.noun} {name!r} is offered by {packages}; remove one")
        where = f"the {self.noun} {name!r} of {_package(points[0])}"
        with failing_as(where):
            found = points[0].load()
        return self._checked(found, where)

    # -- files and modules -----------------------------------------------------------------------------

    def _class_of(self, module: ModuleType, attribute: str, place: str) -> type[T]:
        own = [
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, self.base) and value.__module__ == module.__name__
        ]
        if not attribute:
            if len(own) != 1:
                if not own:
                    raise InputError(f"{place} defines no subclass of {self.bases}")
                raise InputError(f"{place} has {len(own)} {self.noun}s: {', '.join(own)}; name one as {place}:CLASS")
            attribute = own[0]
        if not hasattr(module, attribute):
            raise InputError(f"{place} has no {attribute!r}{nearest(attribute, own)}")
        return self._checked(getattr(module, attribute), f"{place}:{attribute}")

    def _checked(self, found: Any, where: str) -> type[T]:
        if not (inspect.isclass(found) and issubclass(found, self.base)):
            raise InputError(f"{where} is not a subclass of {self.bases}")
        if inspect.isabstract(found):
            raise InputError(f"{where} does not define {', '.join(sorted(getattr(found, '__abstractmethods__', ())))}")
        return found

    # -- options ---------------------------------------------------------------------------------------

    def options(self, spec: Spec, *, defaults: bool = True) -> dict[str, Any]:
        """The options of ``spec`` as values, with or without the ``defaults`` of the rest; InputError as `build`."""
        cls = self.find(spec.name)
        known = declared_options(cls)
        found: dict[str, Any] = {key: parameter.default for key, parameter in known.items()} if defaults else {}
        for key, value in spec.options:
            if key not in known:
                hint = nearest(key, list(known)) if known else "; it has no options"
                if key in inspect.signature(cls).parameters:
                    hint = "; put it after a * in the constructor to make it one"
                raise InputError(f"{self.noun} {spec.name!r} has no option {key!r}{hint}")
            found[key] = converted(f"{self.noun} {spec.name!r}", key, value, option_type(known[key]))
        return found

    def build(self, spec: Spec, *shared: Any, called_with: str, **further: Any) -> T:
        """Construct the component that ``spec`` names.

        Args:
            spec: name and options.
            shared: the positional arguments of every constructor of this kind.
            called_with: the same in words, for messages.
            further: keyword arguments besides the options.

        Raises InputError for an unknown component or option, a value of the wrong type, or one that it rejects.
        """
        cls, options = self.find(spec.name), self.options(spec, defaults=False)
        try:
            return cls(*shared, **options, **further)
        except (InputError, KeyboardInterrupt):
            raise  # an InputError comes from a component inside this one, and names it already
        except ValueError as error:
            refused = InputError(f"{named(self.option, spec)}: {error}")
            raise (refused if is_raised(error) else placed(refused, error, {cls.__module__})) from error
        except BaseException as error:
            if is_out_of_memory(error):
                raise InputError(f"{named(self.option, spec)}: not enough memory for it") from error
            hint = ""
            if isinstance(error, TypeError):
                hint = f"; it is called with {called_with} and its options by keyword"
            if "before Module.__init__" in str(error):
                hint = f"; its __init__ must begin with super().__init__{called_with}"
            problem = InputError(
                f"{named(self.option, spec)}: {cls.__name__} cannot be constructed: "
                f"{type(error).__name__}: {error}{hint}"
            )
            raise placed(problem, error, {cls.__module__}) from error


def declared_options(cls: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """A component's own options: the keyword-only arguments of its constructor."""
    parameters = inspect.signature(cls, eval_str=True).parameters
    given = {"features"} if getattr(cls, "needs_features", False) else set()  # by the trunk
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY and key not in given}


def option_type(option: inspect.Parameter) -> Any:
    """The annotation of an option, or the type of its default if it has none."""
    return type(option.default) if option.annotation is option.empty else option.annotation


def _source(cls: type) -> str:
    return "built-in" if cls.__module__.startswith("attnrec.") else "registered"


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
