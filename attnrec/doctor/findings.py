"""What was found: a line for each check, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "no", "not here"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        group: heading in the report.
        name: what was checked.
        status: ``ok``; ``no`` if it should work and does not; ``not here`` if this machine does not have it.
        text: what was found, or why it does not work, in a few words.
        advice: what can be done about it; may be empty.
        needed: whether training on the CPU requires it to be ``ok``.
    """

    group: str
    name: str
    status: Status
    text: str
    advice: str = ""
    needed: bool = False


@dataclass(frozen=True)
class Report:
    """All findings, in the order in which they are shown.

    Attributes:
        findings: those of a group are next to each other.
    """

    findings: tuple[Finding, ...]

    @property
    def works(self) -> bool:
        """Whether models can be trained on the CPU."""
        return all(finding.status == "ok" for finding in self.findings if finding.needed)

    def summary(self) -> str:
        """The outcome in one line."""
        said = f"training on the CPU {'works' if self.works else 'does not work'}"
        wrong = [finding.name for finding in self.findings if finding.status == "no"]
        return f"{said}; look at: {', '.join(wrong)}" if wrong else f"{said}; nothing is wrong"

    def as_json(self) -> dict[str, Any]:
        """``works``, and ``checks``: a mapping with the attributes of each finding."""
        return {"works": self.works, "checks": [asdict(finding) for finding in self.findings]}


class NotHereError(Exception):
    """The machine does not have what is checked; the message says what is missing.

    Args:
        text: text of the finding.
        advice: advice of the finding.
    """

    def __init__(self, text: str, advice: str = "") -> None:
        super().__init__(text)
        self.advice = advice


class NotRightError(Exception):
    """It works, but not as it should; the message is the text of the finding."""


def tried(group: str, name: str, attempt: Callable[[], str], *, advice: str = "", needed: bool = False) -> Finding:
    """Run ``attempt`` and turn its outcome into a finding.

    Args:
        group, name, needed: as in `Finding`.
        attempt: returns the text of the finding; raises if it does not work, `NotHereError` if there is nothing to try.
        advice: advice of the finding if the attempt fails.
    """
    try:
        return Finding(group, name, "ok", attempt(), needed=needed)
    except NotHereError as absent:
        return Finding(group, name, "not here", str(absent), absent.advice, needed)
    except NotRightError as wrong:
        return Finding(group, name, "no", str(wrong), advice, needed)
    except Exception as error:  # noqa: BLE001  (any failure is a finding)
        return Finding(group, name, "no", in_a_line(error), advice, needed)


def examined(
    group: str, look: Callable[[], Iterable[Finding]], name: str = "", *, needed: bool = False
) -> Iterator[Finding]:
    """The findings of ``look``; if it fails, one more that says so, named ``name`` or like the group."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001  (as above)
        yield Finding(group, name or group, "no", in_a_line(error), needed=needed)


def in_a_line(error: BaseException, longest: int = 200) -> str:
    """The kind of an error and the first line of its message, at most ``longest`` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
