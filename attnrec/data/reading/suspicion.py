"""Signs that data were misread; such data are refused unless the user trusts them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.reading.columns import is_number, looks
from attnrec.data.reading.form import Form

_FEW = 50  # with fewer interactions, shares mean nothing
_SAMPLE = 5000
_DATES = 1e8  # larger times are dates, in seconds or a finer unit
_APART = 200  # times in different units differ by a factor of 1000; dates of our age in one unit by less than this


def refuse_suspicious(data: Interactions, where: str, form: Form, *, item_named: bool, time_named: bool) -> None:
    """Raise DataError if the data look misread.

    Args:
        data: the data as read.
        where: the source, for the message.
        form: the layout in which it was read.
        item_named: whether a header or the user names the column of items.
        time_named: whether the user names the column of times; then small numbers may be times.
    """
    if data.num_interactions < _FEW:
        return
    sequences = form.kind == "sequences"  # in sequences, anything else in a line would have become an item
    for sign in (_shape(data), _items(data, sequences, item_named), _times(data, named=time_named)):
        if sign:
            raise DataError(
                f"{where}, read as {form}: {sign}; if it was read wrong, say `format`, `user_column`, `item_column` or "
                "`time_column`; if not, `trust_data=True`"
            )


def odd_times(data: Interactions) -> str:
    """A sentence on times that are far from all others but too few to refuse the data; "" if there are none."""
    if data.timestamps is None or (middle := float(np.median(data.timestamps))) <= _DATES:
        return ""
    far = data.timestamps[(data.timestamps > _APART * middle) | (data.timestamps < middle / _APART)]
    if not len(far):
        return ""
    return (
        f"{len(far):,} of {data.num_interactions:,} times do not fit the others; they may be missing or in another "
        f"unit ({far[0]:g}, while most are about {middle:g})"
    )


def _shape(data: Interactions) -> str:
    longest = data.lengths.max() / data.num_interactions
    if longest > 0.9:
        return f"one user has {longest:.0%} of the interactions"
    if data.num_users > 0.95 * data.num_interactions:
        return f"{data.num_users:,} users have {data.num_interactions:,} interactions, so nearly none has a history"
    if data.num_items > 0.9 * data.num_interactions:
        return f"there are {data.num_items:,} items in {data.num_interactions:,} interactions, nearly one for each"
    once = int((np.bincount(data.items, minlength=data.num_items + 1)[1:] == 1).sum())
    if once > 0.95 * data.num_items:
        return f"{once:,} of {data.num_items:,} items occur once"
    return ""


def _items(data: Interactions, sequences: bool, named: bool) -> str:
    """A sign of times or ratings among the items; "" for none."""
    step = max(1, data.num_items // _SAMPLE)
    sample = data.item_ids[::step]
    numbers = [name for name in sample if is_number(name)]
    timed = looks(numbers).time if numbers else False
    found = sum(looks([name]).time for name in sample) / len(sample)
    if any(len(name) > 1 and name[0] == name[-1] == '"' for name in sample):
        return "some items are in double quotes, so fields may be quoted after all"
    if timed and found > 0.9 and not sequences and not (named and data.timestamps is not None):
        return f"the items look like times ({numbers[0]}, ...)"
    if sequences and 0.02 < found < 0.98:
        return f"{found:.0%} of the items look like times, the others do not, so the lines hold more than items"
    if len(data.item_ids) <= 11 and looks([*data.item_ids, *data.item_ids]).rating:
        return f"the items look like ratings ({', '.join(sorted(data.item_ids)[:11])})"
    if sequences and (place := _rating_place(data)) is not None:
        return f"place {place + 1} of every line holds numbers that look like ratings"
    return ""


def _rating_place(data: Interactions) -> int | None:
    """The position in histories of equal length that holds few small numbers, while others hold many items, or None."""
    width = int(data.lengths[0])
    if not 2 <= width <= 8 or (data.lengths != width).any() or data.num_users < _FEW:
        return None
    table = data.items.reshape(-1, width)
    for place in range(1, width):
        names = [data.item_ids[item - 1] for item in np.unique(table[:, place])]
        others = len(np.unique(np.delete(table, place, axis=1)))
        if looks([*names, *names]).rating and others > 3 * len(names):
            return place
    return None


def _written_dates(times: npt.NDArray[np.float64]) -> str:
    """The first time, where all are whole numbers such as 20200131 or 20200131235959; "" where one is not."""
    for unit in (1, 10**6):  # a day, a second
        days, clock = np.divmod(times, unit)
        year, month, day = days // 10_000, days // 100 % 100, days % 100
        of_day = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (days % 1 == 0)
        of_clock = (clock // 10_000 < 24) & (clock // 100 % 100 < 60) & (clock % 100 < 60)
        if ((year >= 1970) & (year < 2100) & of_day & of_clock).all():
            return f"{times[0]:.0f}"
    return ""


def _times(data: Interactions, *, named: bool) -> str:
    times = data.timestamps
    if times is None:
        return ""
    sample = times[:: max(1, len(times) // _SAMPLE)]
    different = np.unique(sample)
    if written := _written_dates(different):
        return f"the times look like dates written as numbers ({written}); write 2020-01-31, or seconds"
    if not named and looks([*map(repr, different.tolist()), repr(float(different[0]))]).rating and len(different) > 1:
        return f"the times look like ratings ({', '.join(f'{time:g}' for time in different[:6])})"
    low, middle, high = (float(value) for value in np.quantile(sample, [0.01, 0.5, 0.99]))
    if middle > _DATES and low <= 0:
        return f"more than 1 % of the times are {low:g} or less, where others are {middle:g}"
    if middle > _DATES and low > 0 and high / low > _APART:
        return f"the times are in different units ({low:g}, {high:g})"
    if len(different) == 1 and data.num_interactions > _FEW:
        return f"all times are {different[0]:g}"
    return ""
