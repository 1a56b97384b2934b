"""What stops a check, and how an exception is described in one line."""

from __future__ import annotations

import traceback
from pathlib import Path


class Fault(Exception):
    """The component violates the property; the message says how, and a hint here replaces that of the check.

    Attributes:
        excess: the measured value divided by its tolerance; infinite if nothing was measured.
    """

    def __init__(self, text: str, hint: str = "", *, excess: float = float("inf")) -> None:
        super().__init__(text)
        self.hint, self.excess = hint, excess


class Unusable(Fault):
    """A fault that the check ``needs`` reports; if that one failed, this check counts as not run."""

    def __init__(self, text: str, needs: str) -> None:
        super().__init__(text)
        self.needs = needs


class NotRun(Exception):
    """The check does not apply to the component, or cannot run here."""


def raised(error: BaseException) -> str:
    """An exception in one line: where it came from in the component, and the first line of its message."""
    name, file, line = place(error)
    where = f" at {Path(file).name}:{line}" if file else ""
    lines = str(error).strip().splitlines()
    return f"raised {name}{where}" + (f": {lines[0][:200]}" if lines else "")


def place(error: BaseException) -> tuple[str, str, int]:
    """Type, file and line of an exception: the innermost line outside torch and the contract, or '' and 0."""
    own = Path(__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_file() and own not in Path(frame.filename).parents and not _of_torch(frame.filename)
    ]
    file, line = (frames[-1].filename, frames[-1].lineno or 0) if frames else ("", 0)
    return type(error).__name__, file, line


def _of_torch(path: str) -> bool:
    return "torch" in Path(path).parts
