"""Making a data set from raw interactions, by filters that each count what they leave.

The filters, in this order: 1. minimum rating, 2. range of dates, 3. duplicate lines, 4. repeated interactions with an
item, 5. sample of users, 6. users and items with few interactions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrec.core.options import named
from attnrec.data.interactions import ALL_PARTS, DataError, Interactions, in_file_order
from attnrec.data.moments import read_moment, ticks_per_second
from attnrec.data.preparation import Preparation
from attnrec.data.prepared import parquet_bytes, write_prepared
from attnrec.data.reading.assemble import Column, Columns, numbered, to_interactions
from attnrec.data.reading.cache import cache_folder
from attnrec.data.reading.form import Form, Reading, ReadOptions
from attnrec.data.reading.frames import is_frame
from attnrec.data.reading.items import read_items, with_items
from attnrec.data.reading.read import ROLES, dataset_name, judged, read_file, read_frame
from attnrec.data.reading.source import content_hash


def kept_frame(frame: Any, options: ReadOptions) -> Path:
    """A file in the cache folder with the interactions of a data frame; raises what `prepare_sources` raises."""
    prepared = prepare_sources({"train": [frame]}, Preparation(), options)
    own = hashlib.blake2b(parquet_bytes(prepared.data, {}), digest_size=6).hexdigest()
    path = cache_folder() / "frames" / f"frame-{own}.parquet"
    if not path.exists():
        write_prepared(prepared.data, described(prepared), path)
    return path


@dataclass(frozen=True, eq=False)
class Prepared:
    """What `prepare` made.

    Attributes:
        data: the data set; its items are numbered as they appear in its histories.
        readings: how each source was read.
        steps: for each filter its name, and the interactions, users and items that were left after it.
        options: the filters.
        overlap: interactions of validation and test that are also in training.
    """

    data: Interactions
    readings: tuple[Reading, ...]
    steps: tuple[tuple[str, int, int, int], ...]
    options: Preparation
    overlap: int = 0

    @property
    def part_sizes(self) -> dict[str, int] | None:
        """Interactions of each part, if the data define their own."""
        if self.data.parts is None:
            return None
        return {part: int((self.data.parts == place).sum()) for place, part in enumerate(ALL_PARTS)}


def prepare_sources(
    sources: Mapping[str, Sequence[Any]],
    options: Preparation,
    reading: ReadOptions,
    name: str = "",
    items: str | Path | None = None,
) -> Prepared:
    """Read sources and apply the filters of ``options``.

    Args:
        sources: files or frames by part; only ``train`` if the split is left to training.
        options: the filters.
        reading: how the sources are laid out.
        name: the data set's name; by default that of the first file.
        items: file with titles and categories of the items.

    Raises:
        DataError: a source cannot be read, the sources do not fit together, a filter needs a missing column, or
            nothing is left.
    """
    if not any(sources.values()):
        raise DataError("there is nothing to prepare: give a file or a data frame")
    roles = [*ROLES, "rating"] if options.min_rating else list(ROLES)
    parts: list[Columns] = []
    readings: list[Reading] = []
    forms: list[Form] = []
    for part, given in sources.items():
        for source in given:
            columns, account, form = _read(source, reading, roles)
            if len(sources) > 1:
                own = Column(np.zeros(len(columns), dtype=np.int32), (part,))
                columns = replace(columns, text={**columns.text, "part": own})
            parts.append(columns)
            readings.append(account)
            forms.append(form)
    together = _joined(parts, [account.source for account in readings])
    steps = [("read", *_sizes(together))]
    for step, found in _filters(together, options):
        steps.append((step, *_sizes(found)))
        together = found
    first = next(own for own in sources.values() if own)[0]
    called = name or (dataset_name(Path(first)) if isinstance(first, str | Path) else "frame")
    data = in_file_order(to_interactions(_tied(together, options), called))
    data = judged(data, readings[0], forms[0], reading)
    if data.reading is not None:
        readings[0] = data.reading  # it now has the warnings
    if items is not None:
        data = with_items(data, read_items(items))
    return Prepared(data, tuple(readings), tuple(steps), options, _held_out_and_trained_on(together))


def _read(source: Any, reading: ReadOptions, roles: Sequence[str]) -> tuple[Columns, Reading, Form]:
    if isinstance(source, str | Path):
        columns, account, form = read_file(Path(source), reading, roles)
        return columns, replace(account, hash=content_hash(Path(source))), form
    if not is_frame(source):
        raise DataError(f"a source must be a file or a data frame, not a {type(source).__name__}")
    return read_frame(source, reading, roles)


def _held_out_and_trained_on(columns: Columns) -> int:
    """How many interactions of validation and test are also in training, with the same user, item and time."""
    parts = columns.parts()
    if parts is None:
        return 0
    train = parts == 0
    items = columns.text["item"]
    key = columns.text["user"].codes.astype(np.int64) * len(items.names) + items.codes
    if "time" in columns.numbers:
        _, moment = np.unique(columns.numbers["time"], return_inverse=True)
        _, pair = np.unique(key, return_inverse=True)
        key = pair * (int(moment.max()) + 1) + moment
    return int(np.isin(key[~train], key[train]).sum())


def _sizes(columns: Columns) -> tuple[int, int, int]:
    return len(columns), len(columns.text["user"].names), len(columns.text["item"].names)


def _joined(parts: Sequence[Columns], sources: Sequence[str]) -> Columns:
    """All parts in one table; DataError if their columns or units of time differ."""
    if len(parts) == 1:
        return parts[0]
    units = {ticks_per_second(own.numbers["time"]) for own in parts if "time" in own.numbers}
    if len(units) > 1:
        raise DataError(f"{sources[0]} and the other sources do not fit together: their times are in different units")
    kinds = [{*own.text, *own.numbers} for own in parts]
    for kind, source in zip(kinds, sources, strict=True):
        if kind != kinds[0]:
            odd = sorted(kind ^ kinds[0])
            raise DataError(f"{sources[0]} and {source} do not fit together: only one of them has a column {odd[0]}")
    text = {role: _joined_text([own.text[role] for own in parts]) for role in parts[0].text}
    numbers = {role: np.concatenate([own.numbers[role] for own in parts]) for role in parts[0].numbers}
    return Columns(text, numbers)


def _joined_text(columns: Sequence[Column]) -> Column:
    codes, names = numbered(chain.from_iterable(column.names for column in columns))
    starts = np.cumsum([0, *(len(column.names) for column in columns)])
    parts = [codes[start + column.codes] for start, column in zip(starts, columns, strict=False)]
    return Column(np.concatenate(parts), names)


# -- filters ---------------------------------------------------------------------------------------------


def _filters(columns: Columns, options: Preparation) -> list[tuple[str, Columns]]:
    """The requested filters by name, with what is left after each."""
    done: list[tuple[str, Columns]] = []

    def apply(name: str, keep: npt.NDArray[np.bool_]) -> None:
        nonlocal columns
        columns = columns.keep(keep, name)
        if not len(columns):
            raise DataError(f"nothing is left after {name}")
        done.append((name, columns))

    if options.min_rating:
        ratings = _needed(columns, "rating", "`min_rating`")
        apply(f"rated at least {options.min_rating:g}", ratings >= options.min_rating)
    if options.since or options.until:
        times = _needed(columns, "time", "`since` and `until`")
        low = read_moment(options.since, times, "since") if options.since else -np.inf
        high = read_moment(options.until, times, "until") if options.until else np.inf
        shown = [f"{word} {date}" for word, date in (("since", options.since), ("until", options.until)) if date]
        apply(" ".join(shown), (times >= low) & (times < high))
    if options.duplicates == "drop":
        times = _needed(columns, "time", "`duplicates='drop'`")
        apply("without duplicates", _first_of([columns.text["user"].codes, columns.text["item"].codes, times]))
    if options.repeats != "keep":
        apply(f"the {options.repeats} of each item", _one_of_each_item(columns, options.repeats))
    if options.users:
        apply(f"a sample of {options.users:,} users", _sample(columns.text["user"], options))
    if options.min_user > 1 or options.min_item > 1:
        keep, passes = _core(columns, options)
        how = "counted once" if options.core == "once" else f"in {passes} passes"
        apply(f"at least {options.min_user} a user, {options.min_item} an item, {how}", keep)
    return done


def _needed(columns: Columns, role: str, what: str) -> npt.NDArray[np.float64]:
    if role not in columns.numbers:
        raise DataError(f"{what}: the data have no {role}s; see {named(role + '_column')}")
    return columns.numbers[role]


def _first_of(keys: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Mask of the rows that are the first with their keys."""
    order = np.lexsort(list(keys))
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    keep = np.zeros(len(order), dtype=bool)
    keep[order[new]] = True
    return keep


def _one_of_each_item(columns: Columns, which: str) -> npt.NDArray[np.bool_]:
    keys: list[Any] = [columns.numbers["time"]] if "time" in columns.numbers else []
    if (parts := columns.parts()) is not None:  # parts order a history before times do
        keys.append(parts)
    order = np.lexsort(keys) if keys else np.arange(len(columns))
    order = order if which == "first" else order[::-1]
    keep = np.zeros(len(order), dtype=bool)
    keep[order] = _first_of([columns.text["user"].codes[order], columns.text["item"].codes[order]])
    return keep


def _sample(users: Column, options: Preparation) -> npt.NDArray[np.bool_]:
    count = len(users.names)
    chosen = np.zeros(count, dtype=bool)
    chosen[np.random.default_rng(options.seed).permutation(count)[: options.users]] = True
    return chosen[users.codes]


def _core(columns: Columns, options: Preparation) -> tuple[npt.NDArray[np.bool_], int]:
    """Mask of the interactions whose user and item have enough of them, and the passes that it took."""
    users, items = columns.text["user"], columns.text["item"]
    keep = np.ones(len(columns), dtype=bool)
    passes = 0
    while True:
        passes += 1
        of_user = np.bincount(users.codes[keep], minlength=len(users.names))
        of_item = np.bincount(items.codes[keep], minlength=len(items.names))
        left = keep & (of_user[users.codes] >= options.min_user) & (of_item[items.codes] >= options.min_item)
        if options.core == "once" or (left == keep).all():
            return left, passes
        keep = left


def _tied(columns: Columns, options: Preparation) -> Columns:
    """The rows reordered so that ties in time get the requested order."""
    if options.ties == "file":
        return columns
    _needed(columns, "time", "`ties='item'`")
    names = columns.text["item"].names
    rank = np.empty(len(names), dtype=np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return columns.in_order(np.argsort(rank[columns.text["item"].codes], kind="stable"))


def described(prepared: Prepared) -> dict[str, Any]:
    """The record that is kept with prepared data: sources, options and counts, as plain values."""
    data = prepared.data
    return {
        "sources": [asdict(reading) for reading in prepared.readings],
        "options": asdict(prepared.options),
        "steps": [
            {"step": step, "interactions": count, "users": users, "items": items}
            for step, count, users, items in prepared.steps
        ],
        "users": data.num_users,
        "items": data.num_items,
        "interactions": data.num_interactions,
        "parts": prepared.part_sizes,
        "held_out_and_trained_on": prepared.overlap,
    }
