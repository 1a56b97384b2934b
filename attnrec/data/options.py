"""Options for the data set and its split."""

from __future__ import annotations

from dataclasses import dataclass

from attnrec.core.errors import InputError
from attnrec.core.options import Options, option
from attnrec.data.reading.form import ReadOptions


@dataclass(frozen=True)
class DataOptions(Options, ReadOptions):
    """The data set, how its file is read, and the split; InputError for a value outside its limits."""

    dataset: str = option(
        "synthetic", "Data", "`synthetic` (embedded), a public data set by name, or the path of an interaction file."
    )
    split: str = option(
        "auto",
        "Data",
        "What is held out: the last items of each user, everything after a moment, or the data's own parts "
        "(auto: the data's own parts if it has any, else leave-one-out).",
        choices=("auto", "leave-one-out", "time", "given"),
    )
    valid_from: str = option(
        "",
        "Data",
        "With time: when validation begins, as an ISO date (UTC) or a timestamp in the data's unit.",
        shown="80 % of the interactions",
    )
    test_from: str = option("", "Data", "With time: when the test begins.", shown="90 % of the interactions")

    features: str = option(
        "", "Data", "Table of item features, for models that use them: an id and its features per row.", shown="none"
    )
    feature_columns: tuple[str, ...] = option(
        (), "Data", "Columns of `features` to use, such as genre,brand.", shown="the categories"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feature_columns and not self.features:
            raise InputError("`feature_columns` needs `features`, the table with these columns")
        if (self.valid_from or self.test_from) and self.split != "time":
            raise InputError("`valid_from` and `test_from` need `split='time'`")
