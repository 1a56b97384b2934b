"""Where an error of somebody's own code was raised, and which components the files of a folder define."""

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
_MOST_FILES, _MOST_BYTES = 200, 1_000_000  # of a folder that are looked at for a suggestion
_NOT_OWN = tuple({str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "purelib", "platlib")})


def placed(told: E, error: BaseException, modules: Collection[str] = (), when: str = "") -> E:
    """``told``, with notes that say the file, line and source line of somebody's own code where ``error`` comes from.

    Args:
        told: what is to be raised instead of ``error``.
        error: as it was raised.
        modules: names of modules whose code is somebody's own, wherever it lies.
        when: what is said beside the place.
    """
    place = _of_syntax(error) if isinstance(error, SyntaxError) else _of_frames(error, modules)
    if place:
        file, number, within, source = place
        told.add_note(f"  {file}, line {number}" + (f", in {within}" if within else "") + (when and f", {when}") + ":")
        told.add_note(f"    {source.strip() or '(its source is not there)'}")
    return told


def _of_syntax(error: SyntaxError) -> tuple[str, int, str, str] | None:
    return (error.filename, error.lineno, "", error.text or "") if error.filename and error.lineno else None


def _of_frames(error: BaseException, modules: Collection[str]) -> tuple[str, int, str, str] | None:
    """The innermost line that is neither Python's, nor installed, nor of attnrec."""
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        name, code = str(frame.f_globals.get("__name__")), frame.f_code
        installed = code.co_filename.startswith("<") or str(Path(code.co_filename).resolve()).startswith(_NOT_OWN)
        if name in modules or not (installed or name.partition(".")[0] == "attnrec"):
            within = "" if code.co_name.startswith("<") else code.co_name
            found = code.co_filename, number, within, linecache.getline(code.co_filename, number)
    return found


def is_raised(error: BaseException) -> bool:
    """Whether a ``raise`` statement raised it, so that somebody meant it, and not an expression that went wrong."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def keep_source(content: bytes, place: str) -> None:
    """Let lines of ``place`` be shown as they were when they were executed, also if the file changes."""
    lines = content.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[place] = (len(content), None, lines, place)


def defined_here(bases: Collection[str]) -> Iterator[str]:
    """``FILE.py:CLASS`` of the classes in this folder's files that derive from ``bases``; nothing is executed."""
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
