"""Which raw interactions to keep: the options of a preparation, and recipes for common ones.

The recipe ``sasrec`` is the preparation of Kang & McAuley (ICDM 2018) as their published program does it: users and
items with at least five interactions, both counted once in the raw data (so a few end up with fewer), and a user's
interactions by time, ties as in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from attnrec.core.errors import InputError, nearest
from attnrec.core.options import check, option
from attnrec.data.reading.form import ReadOptions

RECIPES: dict[str, dict[str, Any]] = {
    "sasrec": {"min_user": 5, "min_item": 5, "core": "once"},
    "5-core": {"min_user": 5, "min_item": 5, "core": "stable"},
}


@dataclass(frozen=True)
class Preparation:
    """Which raw interactions are kept; all of them by default."""

    min_rating: float = option(0.0, "What is kept", "Interactions with at least this rating; 0: all.", min=0.0)
    since: str = option("", "What is kept", "Interactions at or after this date or time.", shown="no limit")
    until: str = option("", "What is kept", "Interactions before this date or time.", shown="no limit")
    duplicates: str = option(
        "keep", "What is kept", "Lines with the same user, item and time.", choices=("keep", "drop")
    )
    repeats: str = option(
        "keep", "What is kept", "A user's repeated interactions with one item.", choices=("keep", "first", "last")
    )
    users: int = option(0, "What is kept", "A random sample of this many users; 0: all.", min=0, max=10**9)
    seed: int = option(0, "What is kept", "Seed of the sample.", min=0, max=2**63 - 1)
    min_user: int = option(0, "What is kept", "Users with at least this many interactions.", min=0, max=10**9)
    min_item: int = option(0, "What is kept", "Items with at least this many interactions.", min=0, max=10**9)
    core: str = option(
        "stable",
        "What is kept",
        "Apply `min_user` and `min_item` until both hold, or once, to the counts in the raw data.",
        choices=("stable", "once"),
    )
    ties: str = option(
        "file",
        "What is kept",
        "Order of a user's interactions at the same time: as in the file, or by item id.",
        choices=("file", "item"),
    )


def split_options(options: Mapping[str, Any], recipe: str | None) -> tuple[Preparation, ReadOptions]:
    """The given options, sorted into both kinds; a recipe fills in those that are not given.

    Raises InputError for an unknown recipe or option, or a value outside its limits.
    """
    if recipe is not None and recipe not in RECIPES:
        raise InputError(f"there is no recipe {recipe!r}{nearest(recipe, list(RECIPES))}")
    given = dict(RECIPES.get(recipe or "", {})) | dict(options)
    found: list[Any] = []
    known: list[str] = []
    for kind in (Preparation, ReadOptions):
        names = {field.name: field for field in fields(kind)}
        own = {name: value for name, value in given.items() if name in names}
        for name, value in own.items():
            check(names[name], value)
        known += names
        found.append(kind(**own))
    for name in given:
        if name not in known:
            raise InputError(f"unknown option {name!r}{nearest(name, known)}")
    return found[0], found[1]
