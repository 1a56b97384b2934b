"""Moments in the time of a data set: read from a date or timestamp, found by share, shown as a date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from attnrec.core.errors import InputError
from attnrec.core.options import named
from attnrec.data.interactions import DataError

_Floats = npt.NDArray[np.float64]

_UNITS = (1.0, 1e3, 1e6, 1e9)  # ticks a second
_LATEST = 1e11  # seconds, the year 5138: timestamps that exceed it are in a finer unit
_EARLIEST = 1e8  # seconds, the year 1973: timestamps below it are hardly dates
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks_per_second(times: _Floats) -> float:
    """1 for seconds, 1e3 for milliseconds, and so on: the coarsest unit in which the median is a date before 5138."""
    median = float(np.median(np.abs(times)))
    return next((unit for unit in _UNITS if median < _LATEST * unit), _UNITS[-1])


def read_moment(text: str, times: _Floats, option: str) -> float:
    """A moment in the data's unit.

    Args:
        text: a number in that unit, or an ISO date or date and time, in UTC unless it names a zone.
        times: the timestamps of the data.
        option: the option that gives it, for messages.

    Raises InputError for anything else.
    """
    try:
        value = float(text)
    except ValueError:
        pass
    else:
        if not np.isfinite(value):
            raise InputError(f"{named(option)} {text!r} is not a finite number")
        unit = ticks_per_second(times)
        if len(text) <= 8 and text.isdigit() and _EARLIEST * unit <= float(np.median(times)):
            raise InputError(
                f"{named(option, text)}: a date is written as 2020-05-31; as a timestamp this is before 1974"
            )
        return value
    try:
        date = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        raise InputError(
            f"{named(option)} {text!r} is neither an ISO date such as 2020-05-31 nor a timestamp"
        ) from None
    if abs(float(np.median(times))) < _EARLIEST:
        raise InputError(f"{named(option, text)}: the times of these data are not dates (such as {float(times[0]):g})")
    zoned = date if date.tzinfo else date.replace(tzinfo=UTC)
    return (zoned - _EPOCH).total_seconds() * ticks_per_second(times)


def shown_moment(moment: float, times: _Floats) -> str:
    """A date in UTC, to whole seconds, if the data's timestamps look like dates; otherwise the number."""
    unit = ticks_per_second(times)
    number = f"{moment:.15g}"
    if not _EARLIEST * unit <= float(np.median(times)) < _LATEST * unit:
        return number
    try:
        date = _EPOCH + timedelta(seconds=moment / unit)
    except OverflowError:
        return number
    return f"{date:%Y-%m-%d %H:%M:%S} UTC"


def held_out_from(times: _Floats | None, name: str, valid_from: str, test_from: str) -> tuple[float, float]:
    """The moments from which validation and test items are held out, in the data's unit.

    By default, when 80 % and 90 % of the interactions have happened. If only one is given, the other keeps these
    proportions: validation takes the last ninth of what comes before the test, or the test takes the second half of
    what comes after the start of validation.

    Args:
        times: of all interactions, in any order, or None.
        name: the data set's name.
        valid_from, test_from: as `read_moment` takes them, or empty.

    Raises DataError for data without timestamps, InputError for moments that cannot be used.
    """
    if times is None:
        raise DataError(f"`split='time'` needs timestamps, and {name} has none")
    ordered = np.sort(times)
    valid = read_moment(valid_from, ordered, "valid_from") if valid_from else None
    test = read_moment(test_from, ordered, "test_from") if test_from else None
    if test is None:
        rest = ordered if valid is None else ordered[ordered >= valid]
        test = _after_share(rest, *((9, 10) if valid is None else (1, 2)), "test_from", name)
    if valid is None:
        rest, share = (ordered[ordered < test], (8, 9)) if test_from else (ordered, (8, 10))
        valid = _after_share(rest, *share, "valid_from", name)
    if valid >= test:
        given = valid_from or test_from
        shown = [shown_moment(moment, ordered) for moment in (valid, test)]
        raise InputError(
            f"{named('valid_from', shown[0])} is not before {named('test_from', shown[1])}"
            + ("" if given else f" (the defaults for {name}: 80 % and 90 % of its interactions): give both")
        )
    return valid, test


def _after_share(ordered: _Floats, numerator: int, denominator: int, option: str, name: str) -> float:
    """The moment of the first interaction after that share of them."""
    if not len(ordered):
        raise InputError(f"{name} has no interactions left to choose {named(option)} from: give both moments")
    return float(ordered[len(ordered) * numerator // denominator])
