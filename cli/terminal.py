"""Output streams: escaping what a terminal would act on, and surviving a stream that cannot be written to."""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any, TextIO

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text

# control characters, line separators, changes of writing direction, and surrogates (for bytes that are not UTF-8)
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """The text with escapes such as ``\\x1b`` for characters that a terminal would act on."""
    return UNSAFE.sub(lambda found: repr(found[0])[1:-1], text)


def escaped(text: str) -> str:
    """As `one_line`, but keeps line breaks."""
    return "\n".join(map(one_line, text.split("\n")))


def styled(*parts: tuple[str, str]) -> Text:
    """One line of texts, each with its style."""
    return Text.assemble(*((one_line(text), style) for text, style in parts))


class SafeConsole(Console):
    """Shows strings as they are, without markup or emoji names, and escapes control characters.

    Build a `Text`, as for the spinner, by `styled`, which escapes too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escaped(text), **options)


class FieldsColumn(ProgressColumn):
    """A column of a progress bar that shows fields of the task, such as ``{task.description}``, as they are."""

    def __init__(self, form: str, **options: Any) -> None:
        super().__init__(Column(no_wrap=True, **options))
        self.form = form

    def render(self, task: Task) -> Text:
        return styled((self.form.format(task=task), ""))


class Surviving(io.TextIOBase):
    """A stream that stops writing, without an error, once it is closed, its reader has gone or its disk is full.

    Args:
        stream: None if it was closed from the start.

    Attributes:
        closed_before: whether it was closed from the start.
        failure: the error that stopped it later, or None.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream, self.closed_before = stream, stream is None
        self.failure: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding if self._stream else "utf-8"

    def write(self, text: str) -> int:
        try:
            if self._stream:
                self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        try:
            if self._stream:
                self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno() if self._stream else super().fileno()

    def _give_up(self, error: OSError) -> None:
        stream, self._stream, self.failure = self._stream, None, error
        discard(stream)


def discard(stream: TextIO | None) -> None:
    """Send everything a stream still holds or receives to the null device, so that Python does not complain at exit."""
    if stream is None:
        return
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # OSError: the stream has no file
        os.dup2(nowhere.fileno(), stream.fileno())


def open_standard_streams() -> None:
    """Open closed ones of stdin, stdout and stderr on the null device, so that no other file gets their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
