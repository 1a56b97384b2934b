"""Where in the user's own code an error was raised, and which components the files of a folder define."""

from __future__ import annotations

import ast
import dis
import linecache
import sysconfig
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

from attnrec.core.inputs import instead_of_file

E = TypeVar("E", bound=Exception)
_MOST_FILES, _MOST_BYTES = 200, 1_000_000  # read in a folder to suggest a class
_NOT_OWN = tuple({str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "purelib", "platlib")})


def placed(told: E, error: BaseException, modules: Collection[str] = (), when: str = "") -> E:
    """``told``, with notes: the file, line and source line of the user's own code where ``error`` was raised.

    Args:
        told: the error to raise instead of ``error``.
        error: as it was raised.
        modules: names of modules that count as the user's own code, even if installed or part of attnrec.
        when: words added after the place.
    """
    place = _of_syntax(error) if isinstance(error, SyntaxError) else _of_frames(error, modules)
    if place:
        file, number, within, source = place
        told.add_note(f"  {file}, line {number}" + (f", in {within}" if within else "") + (when and f", {when}") + ":")
        told.add_note(f"    {source.strip() or '(source not found)'}")
    return told


def _of_syntax(error: SyntaxError) -> tuple[str, int, str, str] | None:
    return (error.filename, error.lineno, "", error.text or "") if error.filename and error.lineno else None


def _of_frames(error: BaseException, modules: Collection[str]) -> tuple[str, int, str, str] | None:
    """The innermost line that belongs neither to Python, nor to an installed package, nor to attnrec."""
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        name, code = str(frame.f_globals.get("__name__")), frame.f_code
        installed = code.co_filename.startswith("<") or str(Path(code.co_filename).resolve()).startswith(_NOT_OWN)
        if name in modules or not (installed or name.partition(".")[0] == "attnrec"):
            within = "" if code.co_name.startswith("<") else code.co_name
            found = code.co_filename, number, within, linecache.getline(code.co_filename, number)
    return found


def is_raised(error: BaseException) -> bool:
    """Whether a ``raise`` statement raised it, on purpose, and not an expression that went wrong."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def keep_source(content: bytes, place: str) -> None:
    """Keep the lines of ``place`` for tracebacks as they were executed, even if the file changes."""
    lines = content.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[place] = (len(content), None, lines, place)


def defined_here(bases: Collection[str]) -> Iterator[str]:
    """``FILE.py:CLASS`` for each class in the current folder that derives from ``bases``; nothing is executed."""
    for path in sorted(Path().glob("*.py"))[:_MOST_FILES]:
        try:
            if instead_of_file(path) or path.stat().st_size > _MOST_BYTES:
                continue
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # it is only a suggestion
            continue
        known = set(bases)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and known & {_name(base) for base in node.bases}:
                known.add(node.name)
                yield f"{path}:{node.name}"


def _name(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
