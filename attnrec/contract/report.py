"""What the contract found, as values and as text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any, Literal

from attnrec.contract.faults import place
from attnrec.core import html

Status = Literal["holds", "fails", "not run"]


def raises(noun: str) -> str:
    """Why a check was not run if another check has already reported the exception."""
    return f"the {noun} raises"


@dataclass(frozen=True)
class Result:
    """One property of a component.

    Attributes:
        name: name of the check.
        status: ``not run`` if the check does not apply or cannot run here; this never counts as a pass.
        figure: what was measured; the fault if it fails; the reason if it was not run.
        case: the smallest case found that fails, in words; empty otherwise.
        hint: the usual cause of such a fault; empty unless it fails.
        error: the component's exception, if that made the check fail.
    """

    name: str
    status: Status
    figure: str
    case: str = ""
    hint: str = ""
    error: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def fault(self) -> str:
        """The case and what happened there, in one sentence."""
        return f"{self.case}: {self.figure}" if self.case else self.figure


@dataclass(frozen=True)
class Report:
    """The results for one component; ``str`` gives all of it as plain text.

    Attributes:
        noun: ``operator``, ``mixer`` or ``model``.
        component: its name and options.
        device: where it was run.
        dtype: the precision of the checks, unless a check names another.
        results: in the order of the checks.
    """

    noun: str
    component: str
    device: str
    dtype: str
    results: tuple[Result, ...]

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.status == "fails")

    @property
    def blocks(self) -> dict[str, Result]:
        """The failures by the names of their checks; those with the same error share one entry."""
        together: dict[object, list[Result]] = {}
        for result in self.failures:
            together.setdefault(result.name if result.error is None else place(result.error), []).append(result)
        return {", ".join(result.name for result in some): some[0] for some in together.values()}

    @property
    def holds(self) -> bool:
        """Whether at least one check was run and none failed."""
        return not self.failures and any(result.status == "holds" for result in self.results)

    def summary(self) -> str:
        """One line: how many checks hold, and which do not."""
        skipped = sum(result.status == "not run" for result in self.results)
        ran = len(self.results) - skipped
        end = f"; {skipped} not run" if skipped else ""
        if self.failures:
            names = ", ".join(result.name for result in self.failures)
            verb = "fails" if len(self.failures) == 1 else "fail"
            return f"{self.component}: {len(self.failures)} of {ran} checks {verb}: {names}{end}"
        return f"{self.component}: {ran} of {ran} checks hold{end}"

    def __str__(self) -> str:
        width = max((len(result.name) for result in self.results), default=0)
        lines = [f"{result.name:{width}}  {result.status:7}  {result.fault}" for result in self.results]
        hints = [textwrap.indent(f"{result.name}: {result.hint}", "  ") for result in self.failures if result.hint]
        return "\n".join([*lines, *(["hints:", *hints] if hints else []), self.summary()])

    def _repr_html_(self) -> str:
        rows = [(result.name, result.status, result.fault) for result in self.results]
        shown = html.table(("check", "", "measured"), rows, numbers_from=3)
        hints = [f"{result.name}: {result.hint}" for result in self.failures if result.hint]
        return html.heading(self.summary()) + html.items(hints) + shown

    def as_json(self) -> dict[str, Any]:
        """The report as plain values for `json.dumps`."""
        rows = [
            {key: getattr(result, key) for key in ("name", "status", "figure", "case", "hint")}
            for result in self.results
        ]
        return {
            "model" if self.noun == "model" else "attention": self.component,
            "device": self.device,
            "dtype": self.dtype,
            "holds": self.holds,
            "checks": rows,
        }
