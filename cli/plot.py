"""`attnrec plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from attnrec.cli.options import trust_code_option
from attnrec.cli.output import print_json, results
from attnrec.cli.terminal import one_line


def plot(
    run: Path = typer.Argument(help="Run directory of `attnrec train`, or folder of `attnrec compare`."),
    attention_map: bool = typer.Option(
        False, "--attention-map", help="Instead, draw the average attention by slot, for each block and head."
    ),
    items: Optional[Path] = typer.Option(
        None,
        help="Table of items (TSV or CSV, ids first): also draw the attention between their categories. "
        "By default, the categories in the data, if any (the embedded set has them).",
    ),
    category: Optional[str] = typer.Option(
        None, help="Column of --items; several categories are joined by |.", show_default="category"
    ),
    slots: int = typer.Option(30, help="Most recent slots shown in an attention map.", min=2),
    users: int = typer.Option(1000, help="Users over whom an attention map is averaged.", min=1),
    trust_code: bool = trust_code_option(),
    json: bool = typer.Option(False, "--json", help="Print the paths as the last line of stdout."),
) -> None:
    """Draw how a training or a comparison went, or what a model attends to."""
    from attnrec.analysis.style import save_figure
    from attnrec.api import plot as draw

    figures = draw(
        run,
        attention_map=attention_map,
        items=items,
        category=category,
        slots=slots,
        users=users,
        trust_code=trust_code,
    )
    paths = [path for name, figure in figures.items() for path in save_figure(figure, run / "figures", name)]
    for path in paths:
        results.print(one_line(str(path)), soft_wrap=True)
    if json:
        print_json({"figures": [str(path) for path in paths]})
