"""Copying a class from a notebook into a file that needs nothing else.

Another program cannot import a class written in a cell. So its source is copied, with everything from the notebook that
it uses: imports, constants, functions and classes. The copy is executed and compared with the class. A class that was
changed from outside, or that cannot be written down, is refused; its copy would train something else.
"""

from __future__ import annotations
import __future__

import ast
import hashlib
import inspect
import linecache
import math
import symtable
import sys
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from attnrec.core.errors import InputError
from attnrec.core.loading import run_source
from attnrec.core.registry import Registry

NOTEBOOK = "__main__"
_INTO_A_FILE = "write the class to a file and give FILE.py:CLASS"
_OF_PYTHON = frozenset(
    {"__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__abstractmethods__", "_abc_impl"}
    | {"__firstlineno__", "__static_attributes__"}  # of newer Python
)


def standing_alone(cls: type) -> str:
    """The text of a Python file that defines ``cls`` of a notebook or script, with everything from there that it uses.

    Raises InputError if no file can define the same class.
    """
    copy = _Copy(cls)
    content = copy.text()
    name = f"attnrec_copy_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    module = run_source(content.encode(), name, f"the copy of {cls.__name__}")
    for part, own in copy.definitions.items():
        if differing := _differs(own, getattr(module, part)):
            raise _changed(part, differing)
    return content


class _Copy:
    """Collects what a class needs, each part after those that it uses itself."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.namespace: dict[str, Any] = vars(sys.modules[cls.__module__])
        self.seen: set[str] = set()
        self.future = False
        self.imports: list[str] = []
        self.parts: list[str] = []
        self.definitions: dict[str, Any] = {}
        self._define(cls.__name__, cls)
        for base in cls.__mro__:
            if base.__module__ == cls.__module__ and base not in self.definitions.values():
                raise InputError(
                    f"{cls.__name__}: {base.__name__} has been redefined since; run the cells below it again"
                )

    def text(self) -> str:
        lines = [f'"""{self.cls.__name__} of a notebook, with what it uses; a copy made by attnrec."""', ""]
        lines += ["from __future__ import annotations", ""] if self.future else []
        return "\n".join([*lines, *sorted(self.imports), "", "", "\n\n".join(self.parts)])

    def _need(self, name: str) -> None:
        """Add what ``name`` stands for in the notebook, if it is defined there."""
        if name in self.seen or name not in self.namespace:
            return
        self.seen.add(name)
        value = self.namespace[name]
        if isinstance(value, ModuleType) and sys.modules.get(value.__name__) is value:
            self.imports.append(f"import {value.__name__}" + ("" if name == value.__name__ else f" as {name}"))
        elif _is_plain(value):
            self.parts.append(f"{name} = {value!r}\n")
        elif isinstance(value, type | FunctionType) and value.__module__ == self.cls.__module__:
            self._define(name, value)
        elif place := _importable(name, value):
            self.imports.append(f"from {place[0]} import {place[1]}" + ("" if name == place[1] else f" as {name}"))
        else:
            raise InputError(
                f"{self.cls.__name__} uses {name!r} of the notebook, and a copy cannot hold a "
                f"{type(value).__name__}: make it an option, or {_INTO_A_FILE}"
            )

    def _define(self, name: str, value: Any) -> None:
        own = value.__name__
        if self.definitions.get(own, value) is not value or value.__qualname__ != own:
            raise InputError(f"{value.__qualname__} cannot be separated from the code around it: {_INTO_A_FILE}")
        if own not in self.definitions:
            self.seen.add(own)
            self.definitions[own] = value
            source = self._source(value)
            for used in _global_names(source):
                self._need(used)
            self.parts.append(source)
        if name != own:
            self.parts.append(f"{name} = {own}\n")

    def _source(self, value: Any) -> str:
        """The definition as written in its cell, without a decorator that registers it."""
        for code in _codes(value):
            lines = linecache.getlines(code.co_filename, self.namespace)
            node = _definition(lines, value, code.co_firstlineno)
            if node is None:
                continue
            _check_methods(value, node, code.co_filename)
            self.future |= bool(code.co_flags & __future__.annotations.compiler_flag)
            left_out = [one for one in node.decorator_list if self._registers(one)]
            without = {line for one in left_out for line in range(one.lineno, (one.end_lineno or one.lineno) + 1)}
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            numbers = range(first, (node.end_lineno or node.lineno) + 1)
            return textwrap.dedent("".join(lines[number - 1] for number in numbers if number not in without))
        raise InputError(f"the source of {value.__name__} cannot be found: {_INTO_A_FILE}")

    def _registers(self, decorator: ast.expr) -> bool:
        if not isinstance(decorator, ast.Call):
            return False
        path = ast.unparse(decorator.func).split(".")
        found = self.namespace.get(path[0])
        for attribute in path[1:]:
            found = getattr(found, attribute, None)
        return isinstance(getattr(found, "__self__", None), Registry)


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function, or of each method that a class defines."""
    for own in [value] if isinstance(value, FunctionType) else vars(value).values():
        function = _function(own)
        if function is not None and function.__module__ == value.__module__:
            yield function.__code__


def _function(value: Any) -> FunctionType | None:
    """The function inside a method, a property or a decorated function; None if there is none."""
    inner = getattr(value, "fget", None) or getattr(value, "__func__", value)
    inner = inspect.unwrap(inner) if callable(inner) and not isinstance(inner, type) else inner
    return inner if isinstance(inner, FunctionType) else None


def _definition(lines: list[str], value: Any, line: int) -> ast.ClassDef | ast.FunctionDef | None:
    """The statement that defines ``value`` and has ``line`` in it."""
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:  # a cell with IPython's own syntax
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == value.__name__:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first <= line <= (node.end_lineno or first):
                return node
    return None


def _check_methods(cls: Any, node: ast.ClassDef | ast.FunctionDef, file: str) -> None:
    """InputError if a method is not the one written in the class's cell."""
    methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    for name, one in methods.items() if isinstance(node, ast.ClassDef) else ():
        code = getattr(_function(vars(cls).get(name)), "__code__", None)
        first = min([one.lineno, *(decorator.lineno for decorator in one.decorator_list)])
        if code is None or code.co_filename != file or not first <= code.co_firstlineno <= one.lineno:
            raise _changed(cls.__name__, name)


def _changed(definition: str, part: str) -> InputError:
    return InputError(
        f"{definition} is no longer what its cell says ({part} was changed from outside, or something it uses has "
        f"a different value now): run its cell again, or {_INTO_A_FILE}"
    )


def _global_names(source: str) -> list[str]:
    """Names that a definition looks up outside itself, sorted."""
    found: set[str] = set()

    def look(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                found.add(symbol.get_name())
        for child in table.get_children():
            look(child)

    look(symtable.symtable(source, "cell", "exec"))
    return sorted(found)


def _is_plain(value: Any) -> bool:
    """Whether ``repr`` gives Python that makes the same value."""
    if type(value) in (list, tuple, set):
        return all(map(_is_plain, value)) and value != set()
    if type(value) is dict:
        return all(map(_is_plain, [*value.keys(), *value.values()]))
    return type(value) in (int, str, bool, bytes, type(None)) or (type(value) is float and math.isfinite(value))


def _importable(name: str, value: Any) -> tuple[str, str] | None:
    """Module and name under which ``value`` can be imported; None if it cannot."""
    own = getattr(value, "__module__", None), getattr(value, "__qualname__", getattr(value, "__name__", None))
    others = [(module, name) for module in sorted(sys.modules, key=lambda key: (key.count("."), key))]
    for module, attribute in (own, *others):
        found = getattr(sys.modules.get(str(module)), "__dict__", {})
        if module != NOTEBOOK and not str(module).startswith(("_", "attnrec_")) and found.get(attribute) is value:
            return str(module), str(attribute)
    return None


def _differs(own: Any, copy: Any) -> str:
    """What differs between a definition and its copy; "" for nothing."""
    if isinstance(own, FunctionType):
        return "" if _essence(own) == _essence(copy) else own.__name__
    before, after = ({k: v for k, v in vars(one).items() if k not in _OF_PYTHON} for one in (own, copy))
    for key in sorted(before.keys() | after.keys()):
        if key not in before or key not in after or _essence(before[key]) != _essence(after[key]):
            return key
    return ""


def _essence(value: Any) -> Any:
    """What a method or attribute of a class does, without where it was written; for comparing."""
    if isinstance(value, property):
        return tuple(map(_essence, (value.fget, value.fset, value.fdel)))
    function = _function(value)
    if function is None:
        return repr(value) if _is_plain(value) else type(value).__name__
    usual = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    return type(value).__name__, _bare(function.__code__), repr([one if _is_plain(one) else type(one) for one in usual])


def _bare(code: CodeType) -> tuple[Any, ...]:
    """Names, constants and arguments of code; not its instructions, which depend on where names were imported."""
    constants = tuple(_bare(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts)
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    return (code.co_name, *counts, code.co_varnames, code.co_names, code.co_freevars, constants)
