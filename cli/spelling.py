"""Spelling of options on the command line: where the library says `max_len=50`, users here see ``--max-len 50``.

Messages of the library name an option by its keyword in backticks (`attnrec.core.options.named`). Only messages are
translated, when they are shown; tables of results, ids, titles and the user's source lines stay unchanged. In a
message, text in backticks is translated if it is a separate word and names an option, but not inside a quoted message
of other code.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Any

from attnrec.cli.terminal import one_line
from attnrec.core.errors import InputError, RunError, told

_NAMED = re.compile(
    r"""(?<![^\s(\[])                               # a separate word: not in quotes or in a path
    `(?P<name>[a-z]\w*)
    (?:=(?P<value>
        '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*"       # a text
        | [(\[][^`]*[)\]] | [^\s`'"()\[\]]+         # several values; a number, or a word such as DIR
    ))?`
    (?=[.,:;?!)\]]*(?:\s|$))""",
    re.VERBOSE,
)
_running: Any = None  # context of the current or last command, because errors are shown after it has ended


def flag(name: str) -> str:
    """The spelling of an option that has no spelling of its own: ``max_len`` is ``--max-len``."""
    return "--" + name.replace("_", "-")


def running(context: Any) -> None:
    """Spell options in messages from here on as the command of ``context`` does."""
    global _running
    _running = context


def spelled(text: str, context: Any = None, *, but: str = "") -> str:
    """A message of the library with options spelled as for a command, by default the running one.

    An option of another command is spelled as that command has it. Anything else in backticks, such as an argument,
    stays; so does ``but``, a text that the message quotes.
    """
    context = context or _running
    if context is None or "`" not in text:
        return text
    if "`" in but and but in text:
        before, _, after = text.partition(but)
        return spelled(before, context) + but + spelled(after, context)
    return _NAMED.sub(lambda found: _in_place_of(found, context), text)


def spelled_error(error: BaseException) -> list[str]:
    """The lines of an error (`attnrec.core.errors.told`), with options spelled in the first, the message."""
    message, *place = told(error)
    foreign = error.__cause__
    while isinstance(foreign, InputError | RunError):
        foreign = foreign.__cause__
    return [spelled(message, but="" if foreign is None else str(foreign)), *place]


def _in_place_of(found: re.Match[str], context: Any) -> str:
    option = next((own for own in _options(context) if own.name == found["name"]), None)
    if option is None or option.param_type_name == "argument":
        return found[0]
    on, off = (max(names, key=len, default="") for names in (option.opts, option.secondary_opts))
    value = found["value"]
    if value is None or (value == "True" and option.is_flag):
        return str(on)
    if value == "False" and off:
        return str(off)
    try:
        return f"{on} {_word(value)}"
    except (ValueError, SyntaxError):  # it is no value of ours
        return found[0]


def _word(value: str) -> str:
    """A value in Python's notation as one word for a shell; ValueError or SyntaxError if it is not one."""
    if value[0] in "'\"([":
        read = ast.literal_eval(value)
        value = ",".join(map(str, read)) if isinstance(read, tuple | list) else read
    return shlex.quote(one_line(value))


def _options(context: Any) -> Iterator[Any]:
    """The parameters of the command of ``context``, then the options of all other commands."""
    yield from context.command.params
    waiting = [context.find_root().command]
    for command in waiting:
        yield from (own for own in command.params if own.param_type_name == "option")
        waiting += getattr(command, "commands", {}).values()
