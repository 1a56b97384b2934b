"""Classes given for ``attention`` and ``model`` instead of a string, and the specification that a run records for them.

| the class was written in | specification |
|---|---|
| attnrec | its name |
| a file of the user, imported or read | ``FILE.py:CLASS``; the file is read again, as from the command line |
| a module of a package, or a module that registers it under a name | ``PACKAGE.MODULE:CLASS`` |
| a notebook or a script | ``FILE.py:CLASS`` of a copy in the cache folder (`attnrec.core.own_source`) |

So a run keeps the source of each, and other programs can train and load a class from a notebook. Options are given as
keyword arguments of `functools.partial`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnrec.attention import ATTENTION
from attnrec.core.errors import InputError
from attnrec.core.files import make_folders, write_atomically
from attnrec.core.options import named, shown
from attnrec.core.own_source import NOTEBOOK, standing_alone
from attnrec.core.registry import Registry
from attnrec.core.spec import Spec, Specs
from attnrec.data.reading.cache import cache_folder
from attnrec.models.base import MODELS


def attention_of(given: Any) -> Specs:
    """The specification of a class, a partial of one, or a list of these and strings, one for each block.

    Raises InputError for anything else, or for a class whose source cannot be kept.
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    found = Specs(tuple(_spec(ATTENTION, one) for one in (given if several else [given])))
    _check_text(ATTENTION, found)
    return found


def model_of(given: Any) -> Spec:
    """As `attention_of`, for a model class or a partial of one."""
    found = _spec(MODELS, given)
    _check_text(MODELS, found)
    return found


def _check_text(registry: Registry[Any], spec: Spec | Specs) -> None:
    """InputError if the specification, which a run stores as text, would be parsed as something else."""
    try:
        same = type(spec).parse(str(spec)) == spec
    except InputError:
        same = False
    if not same:
        raise InputError(f"{named(registry.option)}: {spec} has a + , : or = where it would be read as something else")


def _spec(registry: Registry[Any], given: Any) -> Spec:
    if isinstance(given, Spec):
        return given
    if isinstance(given, str):
        return Spec.parse(given)
    options: dict[str, Any] = {}
    if isinstance(given, functools.partial):
        if given.args:
            raise InputError(f"{named(registry.option)}: give the options of a partial by keyword")
        given, options = given.func, given.keywords
    if not (inspect.isclass(given) and issubclass(given, registry.base)):
        raise InputError(f"{registry.option} must be a string or a subclass of {registry.bases}, not {shown(given)}")
    spec = Spec(_name(registry, given), tuple((key, _option(registry, key, value)) for key, value in options.items()))
    registry.options(spec)
    return spec


def _option(registry: Registry[Any], key: str, value: Any) -> str:
    if not isinstance(value, str | int | float | Spec | None):
        raise InputError(f"{named(registry.option)}: option {key} must be a string or a number, not {shown(value)}")
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def _name(registry: Registry[Any], cls: type) -> str:
    known = [name for name, own in registry.registered().items() if own is cls]
    if known and not registry.is_of_this_program(known[0]):
        return known[0]
    if cls.__module__ == NOTEBOOK:
        return f"{_kept_copy(cls)}:{cls.__name__}"
    module = sys.modules.get(cls.__module__)
    if getattr(module, cls.__qualname__, None) is not cls:
        raise InputError(
            f"{cls.__qualname__} is not the class of that name in {cls.__module__}: was the module reloaded?"
        )
    file = getattr(module, "__file__", None) or ""
    is_file = "." not in cls.__module__ and not hasattr(module, "__path__") and file.endswith(".py")
    if is_file and not known:  # a file that registers its class cannot be executed twice
        path = Path(file)
        return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{cls.__qualname__}"
    return f"{cls.__module__}:{cls.__qualname__}"


def _kept_copy(cls: type) -> Path:
    """A file in the cache folder that defines a class from a notebook, one file for each version of it."""
    content = standing_alone(cls).encode()
    folder = cache_folder().absolute() / "classes" / hashlib.sha256(content).hexdigest()[:16]
    path = folder / f"{cls.__name__}.py"
    if not (path.is_file() and path.read_bytes() == content):
        make_folders(folder)
        write_atomically(path, content)
    return path
