"""A check: a function that measures a property, its name and what usually breaks it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from attnrec.contract.report import Result
from attnrec.contract.subject import Fault, NotRun, Subject, Unusable

Measure = Callable[[Subject], str]


@dataclass(frozen=True)
class Check:
    """A property: its name, its ``measure`` and a hint at the usual cause of a failure.

    ``measure`` gives the measured figure in words where the property holds, and raises `Fault` or `NotRun` otherwise.
    """

    name: str
    hint: str
    measure: Measure

    def run(self, subject: Subject, failed: Collection[str]) -> Result:
        """The result; ``failed`` are checks that failed before, in whose shadow this one may not be able to run."""
        subject.case = None
        try:
            return Result(self.name, "holds", self.measure(subject))
        except NotRun as reason:
            return Result(self.name, "not run", str(reason))
        except Fault as fault:
            if isinstance(fault, Unusable) and fault.needs in failed:
                return Result(self.name, "not run", f"needs `{fault.needs}`: {fault}")
            return self._failure(subject, str(fault), fault.hint)
        except Exception as error:  # noqa: BLE001  (an operator may raise anything, and the other checks go on)
            return self._failure(subject, raised(error), "", error)

    def _failure(self, subject: Subject, text: str, hint: str, error: Exception | None = None) -> Result:
        case = "" if subject.case is None else str(subject.case)
        return Result(self.name, "fails", text, case, hint or ("" if error else self.hint), error)


def check(name: str, hint: str) -> Callable[[Measure], Check]:
    """Decorator that makes a `Check` of a function."""
    return lambda measure: Check(name, hint, measure)


def raised(error: Exception) -> str:
    """An exception in one line: where it came from in the operator, and the first line of its message."""
    own = Path(__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_file() and own not in Path(frame.filename).parents and not _of_torch(frame.filename)
    ]
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    lines = str(error).strip().splitlines()
    return f"raised {type(error).__name__}{place}" + (f": {lines[0][:200]}" if lines else "")


def _of_torch(path: str) -> bool:
    return "torch" in Path(path).parts
