"""Errors and warnings whose message is one line meant for the user, and the suggestion of near names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave cannot be used; the command line prints the message and exits with 2."""


class RunError(RuntimeError):
    """Something failed while running (not finite, corrupt file); the command line exits with 1."""


class RunWarning(UserWarning):
    """Something in a run is damaged and was got round; the command line prints the message as a line."""


def told(error: BaseException) -> list[str]:
    """The lines of an error: its message, and where it says so the file, line and source line that it comes from."""
    return [str(error), *getattr(error, "__notes__", [])]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch found no memory; torch says so in words alone."""
    words = ("out of memory", "not enough memory", "allocate memory", "alloc_cpu", "Storage size")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))


def nearest(name: str, known: Sequence[str]) -> str:
    """A clause to append to an 'unknown name' message: near names, or all of them if few, or nothing."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if 0 < len(known) <= 12:
        return f"; known: {', '.join(sorted(known))}"
    return ""
