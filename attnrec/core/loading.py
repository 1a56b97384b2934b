"""Running the user's source files and modules; any failure in them becomes a one-line error."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from attnrec.core.errors import InputError
from attnrec.core.inputs import content_of
from attnrec.core.own_code import keep_source, placed

_loaded: dict[Path, tuple[bytes, ModuleType]] = {}


def load_file(place: str) -> ModuleType:
    """Run a file as a module, and again when it has changed; InputError, in one line, if that fails."""
    path = Path(place).resolve()
    content = content_of(path, place)
    if path in _loaded and _loaded[path][0] == content:
        return _loaded[path][1]
    name = f"attnrec_own_{path.stem}_{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"
    with _importable(path.parent):
        module = run_source(content, name, place)
    _loaded[path] = content, module
    return module


def run_source(content: bytes, name: str, place: str) -> ModuleType:
    """Run a source that was read from ``place`` as the module ``name``; files next to it cannot be imported.

    InputError, in one line, if that fails.
    """
    spec = importlib.util.spec_from_loader(name, loader=None, origin=place)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = place
    sys.modules[name] = module  # dataclasses and pickle look it up there
    with failing_as(place):
        keep_source(content, place)
        exec(compile(content, place, "exec", dont_inherit=True), module.__dict__)
    return module


def load_module(place: str) -> ModuleType | None:
    """Import a module, also from the current folder; None if it does not exist, InputError if it fails."""
    if not all(part.isidentifier() for part in place.split(".")):
        return None
    with failing_as(f"the module {place}"), _importable(Path.cwd()):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            return None


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules in ``folder`` be imported; others of the same name come first."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def failing_as(where: str) -> Iterator[None]:
    """Turn any failure of the user's code into an InputError that says on which line it was raised."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: a script without a __main__ guard may end the program
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        problem = InputError(f"{where} cannot be loaded: {type(error).__name__}: {message}")
        raise placed(problem, error) from error
