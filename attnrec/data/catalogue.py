"""What a model is built for: the numbers of items and users, and the features of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.options import DataOptions
from attnrec.data.reading.items import category_column, read_columns

CATEGORY = "category"
"""Name of the feature made from categories that are part of the data."""


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """Features of the items, with numbered values; an item may have several values of a feature, or none.

    Attributes:
        values: the values of each feature, by name; value number v is ``values[name][v - 1]``.
        numbers: by name, int64 [num_items + 1, K]: the numbers of each item's values, padded with 0 to K.
    """

    values: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, npt.NDArray[np.int64]]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of values of each feature."""
        return {name: len(own) for name, own in self.values.items()}

    def texts(self) -> dict[str, list[list[str]]]:
        """The values of each item by feature, in the order of the items; the inverse of `of`."""
        return {
            name: [[self.values[name][number - 1] for number in row if number] for row in table[1:].tolist()]
            for name, table in self.numbers.items()
        }

    @classmethod
    def of(cls, features: Mapping[str, Sequence[Sequence[str]]]) -> ItemFeatures:
        """Number the values of each item, given by feature in the order of the items."""
        values, numbers = {}, {}
        for name, of_items in features.items():
            texts = dict.fromkeys(text for own in of_items for text in own)
            places = {text: number for number, text in enumerate(texts, 1)}
            table = np.zeros((len(of_items) + 1, max([1, *map(len, of_items)])), dtype=np.int64)
            for item, own in enumerate(of_items, 1):
                table[item, : len(own)] = [places[text] for text in own]
            values[name], numbers[name] = tuple(places), table
        return cls(values, numbers)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The sizes of a data set.

    Attributes:
        num_items, num_users: numbered from 1 (items) and from 0 (users); a model gets the users only if it knows users.
        timestamps: whether interactions have times.
        features: of the items, or None.
    """

    num_items: int
    num_users: int = 0
    timestamps: bool = True
    features: ItemFeatures | None = None


def catalogue_of(data: Interactions, options: DataOptions) -> Catalogue:
    """What a model may know about the data before training: sizes, and features from a table or from the data.

    Raises DataError if the table cannot be read, or has no row for an item of the data.
    """
    features = None
    if options.features:
        features = _read(Path(options.features), options.feature_columns, data)
    elif data.item_categories is not None:
        features = ItemFeatures.of({CATEGORY: data.item_categories})
    return Catalogue(data.num_items, data.num_users, data.timestamps is not None, features)


def _read(path: Path, columns: Sequence[str], data: Interactions) -> ItemFeatures:
    names = columns or [category_column(path)]
    rows = read_columns(path, names)
    missing = [item for item in data.item_ids if item not in rows]
    if missing:
        raise DataError(
            f"{path} has no row for {len(missing):,} of the {data.num_items:,} items of {data.name}, such as "
            f"{missing[0]!r}; its first column must hold their original ids"
        )
    features = ItemFeatures.of(
        {name: [rows[item][place] for item in data.item_ids] for place, name in enumerate(names)}
    )
    for name, size in features.sizes.items():
        if not size:
            raise DataError(f"{path} has no value of {name!r} for any item of {data.name}")
    return features
