"""`attnrec data`."""

from __future__ import annotations

import typer

from attnrec.cli.output import console, plain_table, print_json


def data(
    dataset: str = typer.Argument("synthetic", help="`synthetic` or the path of an interaction file."),
    file_format: str = typer.Option(
        "auto", "--format", help="Format of the file.", metavar="auto|pairs|sequences|csv|tsv"
    ),
    json: bool = typer.Option(False, "--json", help="Print the figures as the last line of stdout."),
) -> None:
    """Read a data set and show what is in it."""
    import numpy as np

    from attnrec.data.load import load_interactions
    from attnrec.data.splits import leave_one_out

    found = load_interactions(dataset, file_format)
    lengths = found.lengths
    figures = {
        "users": found.num_users,
        "items": found.num_items,
        "interactions": found.num_interactions,
        "median_length": float(np.median(lengths)),
        "max_length": int(lengths.max()),
        "evaluated_users": len(leave_one_out(found).held_out),
        "timestamps": found.timestamps is not None,
    }
    rows = [
        (name.replace("_", " "), f"{value:,}" if not isinstance(value, bool) else "yes" if value else "no")
        for name, value in figures.items()
    ]
    console.print(plain_table((found.name, ""), rows, numbers=(1,)))
    if json:
        print_json({"dataset": found.name, **figures})
