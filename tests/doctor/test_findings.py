"""What a check becomes: a finding, whatever happens in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attnrec.doctor.findings import Finding, NotHereError, NotRightError, Report, examined, in_a_line, tried


def attempt(error: Exception | None = None) -> str:
    if error is not None:
        raise error
    return "fine"


@pytest.mark.parametrize(
    ("error", "status", "text", "advice"),
    [
        (None, "ok", "fine", ""),
        (NotHereError("no GPU", "buy one"), "not here", "no GPU", "buy one"),
        (NotRightError("off by 3"), "no", "off by 3", "mend it"),
        (OSError("gone\nand more"), "no", "OSError: gone", "mend it"),
    ],
)
def test_an_attempt_becomes_a_finding(error: Exception | None, status: str, text: str, advice: str) -> None:
    found = tried("works", "it", lambda: attempt(error), advice="mend it", needed=True)
    assert found == Finding("works", "it", status, text, advice, needed=True)  # type: ignore[arg-type]


def test_what_was_found_before_a_failure_is_kept() -> None:
    def look() -> Iterator[Finding]:
        yield Finding("works", "first", "ok", "")
        raise KeyError("second")

    first, second = examined("works", look, "second", needed=True)
    assert first.name == "first"
    assert (second.name, second.status, second.text, second.needed) == ("second", "no", "KeyError: 'second'", True)


def test_an_error_is_a_short_line() -> None:
    assert in_a_line(ValueError("\n\n  one\ntwo")) == "ValueError: one"
    assert in_a_line(ValueError()) == "ValueError"
    assert len(in_a_line(ValueError("x" * 1000), longest=50)) == 50


def test_training_works_if_all_that_is_needed_does() -> None:
    needed = Finding("works", "training", "ok", "", needed=True)
    broken = Finding("works", "CUDA", "no", "")
    assert Report((needed, broken)).works
    assert "look at: CUDA" in Report((needed, broken)).summary()
    assert "nothing is wrong" in Report((needed,)).summary()
    stopped = Report((Finding("works", "training", "no", "", needed=True),))
    assert not stopped.works
    assert "does not work; look at: training" in stopped.summary()
