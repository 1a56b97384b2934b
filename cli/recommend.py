"""`attnrec recommend`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

import typer

from attnrec.cli.options import trust_code_option
from attnrec.cli.output import plain_table, print_json, results
from attnrec.core.errors import InputError


def recommend(
    run: Path = typer.Argument(help="Run directory of `attnrec train`."),
    history: str = typer.Option(
        ..., help="Original item ids, oldest first, separated by white space (or commas); `-` reads them from stdin."
    ),
    timestamps: Optional[str] = typer.Option(
        None, help="Time of each item of the history, in the data's unit, for variants that need times (`ti`)."
    ),
    top: int = typer.Option(10, help="How many items to recommend.", min=1),
    include_seen: bool = typer.Option(False, "--include-seen", help="Also recommend items of the history."),
    user: Optional[str] = typer.Option(None, help="Original user id, for a model trained with --user-vector."),
    device: str = typer.Option("auto", help="Where to compute.", metavar="auto|cpu|cuda"),
    trust_code: bool = trust_code_option(),
    json: bool = typer.Option(False, "--json", help="Print the result as the last line of stdout."),
) -> None:
    """Recommend the next items for a history."""
    text = _standard_input() if history == "-" else history
    if not text.strip():
        raise InputError("--history is empty: give at least one item id")
    from attnrec.recommender import load

    recommender = load(run, device, trust_code=trust_code)
    items = text.split()
    if not all(item in recommender.item_numbers for item in items):  # else commas belong to the ids
        items = text.replace(",", " ").split()
    times = None if timestamps is None else _times(timestamps)
    found = recommender.recommend(items, top=top, include_seen=include_seen, user=user, timestamps=times)
    titled = bool(recommender.vocabulary.titles)
    rows = [
        (str(place), item, *([recommender.title(item)] if titled else []), f"{score:.4f}")
        for place, (item, score) in enumerate(found, 1)
    ]
    headers = ("rank", "item", "title", "score") if titled else ("rank", "item", "score")
    results.print(plain_table(headers, rows, numbers=(0, len(headers) - 1)))
    if json:
        named = [
            {"item": item, **({"title": recommender.title(item)} if titled else {}), "score": score}
            for item, score in found
        ]
        print_json({"recommendations": named})


def _standard_input() -> str:
    if sys.stdin is None:
        raise InputError("--history -: stdin is closed")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise InputError("--history -: stdin is not valid UTF-8") from None


def _times(text: str) -> list[float]:
    try:
        return [float(time) for time in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(f"--timestamps {text!r} is not a list of numbers") from None
