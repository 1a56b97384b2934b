"""`attnrec prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import typer

from attnrec.cli.options import with_options_of
from attnrec.cli.output import console, print_json, show_prepared
from attnrec.data.preparation import RECIPES, Preparation
from attnrec.data.reading.form import ReadOptions


@with_options_of(ReadOptions, Preparation)
def prepare(
    files: list[Path] = typer.Argument(help="Raw files of interactions; with --valid or --test, those to train on."),
    *,
    out: Path = typer.Option(..., help="Parquet file to write."),
    valid: Optional[list[Path]] = typer.Option(None, help="File of held-out interactions for validation."),
    test: Optional[list[Path]] = typer.Option(None, help="File of held-out interactions for the test."),
    items: Optional[Path] = typer.Option(None, help="File of the items' titles and categories."),
    recipe: Optional[str] = typer.Option(
        None, help="Filters to start from.", metavar="|".join(RECIPES), rich_help_panel="What is kept"
    ),
    name: str = typer.Option("", help="Name of the data set.", show_default="that of the first file"),
    force: bool = typer.Option(False, "--force", help="Replace --out if it exists."),
    json: bool = typer.Option(False, "--json", help="Print sources, options and counts as the last line of stdout."),
    **given: Any,
) -> None:
    """Make a data set from raw files: read and filter them, and write one Parquet file that says how it was made."""
    from attnrec.api import prepare as make
    from attnrec.data.prepare import described

    options = {key: value for key, value in given.items() if value is not None}
    options |= {"items": items, "recipe": recipe, "name": name, "force": force}
    prepared = make(list(files), out, valid=valid or None, test=test or None, **options)
    show_prepared(prepared)
    console.print(f"written: {out}", soft_wrap=True)
    console.print(f"train on it: attnrec train --dataset {out}", soft_wrap=True)
    if json:
        print_json({"out": str(out), **described(prepared)})
