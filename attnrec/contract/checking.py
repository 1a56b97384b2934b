"""A check: a function that measures a property, with a name and a hint at what usually breaks it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from attnrec.contract.faults import Fault, NotRun, Unusable, place, raised
from attnrec.contract.report import Result, raises
from attnrec.contract.subject import Subject

Measure = Callable[[Subject], str]

CLEAR = 100.0
"""A fault is clear from this many times its tolerance; a smaller one may be a trace of a larger fault elsewhere."""


@dataclass(frozen=True)
class Check:
    """A property: its name, its ``measure`` and a hint at the usual cause of a failure.

    ``measure`` returns the measured figure in words if the property holds, and raises `Fault` or `NotRun` otherwise.
    """

    name: str
    hint: str
    measure: Measure

    def run(self, subject: Subject, failed: Collection[str]) -> Result:
        """Run the check; ``failed`` are earlier failures, which can make this check meaningless."""
        try:
            return Result(self.name, "holds", self._measured(subject))
        except Exception as error:  # noqa: BLE001  (a component may raise anything; the other checks still run)
            return self._stopped(subject, error, failed)

    def _measured(self, subject: Subject) -> str:
        """The figure. On failure, raises the fault of the smallest case where it is clear, or else of the first."""
        subject.case, subject.margin = None, 1.0
        try:
            return self.measure(subject)
        except Fault as fault:
            if fault.excess >= CLEAR:
                raise
            first, case = fault, subject.case
        subject.margin = CLEAR
        try:
            self.measure(subject)
        except Exception as error:
            if isinstance(error, Fault) and not isinstance(error, Unusable):
                raise
        subject.case = case
        raise first

    def _stopped(self, subject: Subject, error: Exception, failed: Collection[str]) -> Result:
        of_operator = error.__cause__ if isinstance(error, (Fault, NotRun)) else error
        if of_operator is not None and place(of_operator) == subject.broken:
            if subject.told:
                return Result(self.name, "not run", raises(subject.noun))
            subject.told = True
            return self._failure(subject, raised(of_operator), "", of_operator)
        if isinstance(error, NotRun):
            return Result(self.name, "not run", str(error))
        if isinstance(error, Unusable) and error.needs in failed:
            return Result(self.name, "not run", f"needs `{error.needs}`: {error}")
        if isinstance(error, Fault):
            return self._failure(subject, str(error), error.hint or self.hint)
        return self._failure(subject, raised(error), "", error)

    def _failure(self, subject: Subject, text: str, hint: str, error: BaseException | None = None) -> Result:
        case = "" if subject.case is None else str(subject.case)
        return Result(self.name, "fails", text, case, hint, error)


def check(name: str, hint: str) -> Callable[[Measure], Check]:
    """Decorator that turns a function into a `Check`."""
    return lambda measure: Check(name, hint, measure)
