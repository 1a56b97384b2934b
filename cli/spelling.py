"""How options are spelled on a command line: where the library says `max_len=50`, a reader here sees ``--max-len 50``.

Messages of the library name an option by its keyword in backticks (`attnrec.core.options.named`). They are translated
where they are shown, and only they are: tables of results, ids, titles and one's own source lines are shown as they
are. Within a message, text in backticks is translated where it stands as a word of its own and names an option; that
of an exception of other code, which one of attnrec quotes, stays.
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
    r"""(?<![^\s(\[])                               # a word of its own: not in quotes, nor in a path
    `(?P<name>[a-z]\w*)
    (?:=(?P<value>
        '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*"       # a text
        | [(\[][^`]*[)\]] | [^\s`'"()\[\]]+         # several values; a number, or a word such as DIR
    ))?`
    (?=[.,:;?!)\]]*(?:\s|$))""",
    re.VERBOSE,
)
_running: Any = None  # the context of the command that runs, or ran last: an error is shown when it has ended


def flag(name: str) -> str:
    """The spelling of an option that is declared by its keyword alone: ``max_len`` is ``--max-len``."""
    return "--" + name.replace("_", "-")


def running(context: Any) -> None:
    """Let messages from here on be those of the command of ``context``."""
    global _running
    _running = context


def spelled(text: str, context: Any = None, *, but: str = "") -> str:
    """A message of the library with options as they are given to a command, by default the one that runs.

    An option that it does not have is spelled as another command has it. What is no option stays, such as an argument,
    and so does ``but``, which the message quotes.
    """
    context = context or _running
    if context is None or "`" not in text:
        return text
    if "`" in but and but in text:
        before, _, after = text.partition(but)
        return spelled(before, context) + but + spelled(after, context)
    return _NAMED.sub(lambda found: _in_place_of(found, context), text)


def spelled_error(error: BaseException) -> list[str]:
    """The lines of an error (`attnrec.core.errors.told`), of which the first is attnrec's own."""
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
    """A value in Python's spelling as a word of a shell; ValueError or SyntaxError where it is none."""
    if value[0] in "'\"([":
        read = ast.literal_eval(value)
        value = ",".join(map(str, read)) if isinstance(read, tuple | list) else read
    return shlex.quote(one_line(value))


def _options(context: Any) -> Iterator[Any]:
    """What the command of ``context`` takes, then the options of all others."""
    yield from context.command.params
    waiting = [context.find_root().command]
    for command in waiting:
        yield from (own for own in command.params if own.param_type_name == "option")
        waiting += getattr(command, "commands", {}).values()
