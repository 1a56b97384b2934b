"""Errors and warnings with a one-line message for the user, and suggestions for misspelled names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave cannot be used; the command line prints the message and exits with 2."""


class RunError(RuntimeError):
    """Something failed while running (not finite, corrupt file); the command line exits with 1."""


class RunWarning(UserWarning):
    """Something in a run is damaged and was worked around; the command line prints the message as a line."""


def told(error: BaseException) -> list[str]:
    """The lines of an error: its message, then its notes, which say the file and line where it was raised."""
    return [str(error), *getattr(error, "__notes__", [])]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch ran out of memory; some errors of torch say so only in their message."""
    words = ("out of memory", "not enough memory", "allocate memory", "alloc_cpu", "Storage size")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))


def nearest(name: str, known: Sequence[str]) -> str:
    """A clause to append to an 'unknown name' message: similar names, or all names if they are few, or ""."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if 0 < len(known) <= 12:
        return f"; known: {', '.join(sorted(known))}"
    return ""
