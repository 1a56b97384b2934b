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


def nearest(name: str, known: Sequence[str]) -> str:
    """A clause to append to an 'unknown name' message: near names, or all of them if few, or nothing."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if 0 < len(known) <= 12:
        return f"; known: {', '.join(sorted(known))}"
    return ""
