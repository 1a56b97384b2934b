"""`attnrec data get`."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Self

import typer
from rich.progress import BarColumn, Progress, TaskID, TimeRemainingColumn

from attnrec.cli.output import console, plain_table, print_json, results, show_prepared
from attnrec.cli.terminal import FieldsColumn
from attnrec.core.errors import InputError
from attnrec.data.public.download_observer import DownloadObserver

if TYPE_CHECKING:
    from attnrec.data.public.catalogue import Entry

_COUNTS = {"users": "users", "items": "items", "interactions": "inter-\nactions"}
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def get(
    name: Optional[str] = typer.Argument(None, help="Name of the data set; without one, all are listed."),
    folder: Optional[Path] = typer.Option(
        None, help="Folder to keep data sets in.", show_default="ATTNREC_CACHE or the user's cache"
    ),
    max_size: Optional[str] = typer.Option(
        None, help="Download no more than this, such as 500MB or 2GB.", show_default="four times the listed size"
    ),
    titles: bool = typer.Option(True, help="Download the items' titles too."),
    json: bool = typer.Option(False, "--json", help="Print the files or the list as the last line of stdout."),
) -> None:
    """Download a public data set from its publisher, or list those that are available."""
    if name is None:
        _list(folder, json)
        return
    from attnrec.data.public.get import RECIPE, get_prepared

    limit = None if max_size is None else _bytes(max_size)
    try:
        with _Display() as display:
            path, prepared = get_prepared(name, folder=folder, max_size=limit, titles=titles, observer=display)
    except KeyboardInterrupt:
        console.print("interrupted: run the same command to continue")
        raise typer.Exit(130) from None
    if prepared is not None:
        show_prepared(prepared)
    dataset = name if folder is None else path
    console.print(f"prepared with the recipe {RECIPE}: {path}", soft_wrap=True)
    console.print(f"train on it: attnrec train --dataset {dataset}", soft_wrap=True)
    if json:
        print_json(_described(name, path, folder))


def _list(folder: Path | None, json: bool) -> None:
    from attnrec.data.public.catalogue import catalogue
    from attnrec.data.public.download import downloaded

    for family, entries in groupby(catalogue(), lambda entry: entry.family):
        _show_family(family, list(entries))
    results.print(
        "`attnrec data get NAME` shows the terms and downloads. Sizes include titles; counts are as published."
    )
    if json:
        rows = [
            {
                "name": entry.name,
                **{count: entry.counts.get(count) for count in _COUNTS},
                "size": entry.size or None,
                "licence": entry.licence,
                "page": entry.page,
                "downloaded": downloaded(entry.name, folder) is not None,
            }
            for entry in catalogue()
        ]
        print_json({"datasets": rows})


def _show_family(family: str, entries: list[Entry]) -> None:
    """A table of a publisher's data sets, with what they share above it."""
    prefix = entries[0].name.partition(":")[0] + ":"
    shared = prefix if entries[0].name.startswith(prefix) else ""
    title = f"{family}, as {shared}CATEGORY" if shared else family
    results.print(f"\n{title} (licence: {entries[0].licence})", style="bold")
    counts = [count for count in _COUNTS if any(count in entry.counts for entry in entries)]
    rows = [
        (
            entry.name.removeprefix(shared),
            *(_short(entry.counts.get(count)) for count in counts),
            f"{_short(entry.size)}B" if entry.size else "-",
        )
        for entry in entries
    ]
    headers = ("name", *(_COUNTS[count] for count in counts), "size")
    results.print(plain_table(headers, rows, numbers=range(1, len(headers))))


def _short(number: int | None) -> str:
    """Three digits and a letter: 2.57M."""
    if number is None:
        return "-"
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return str(number)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?B?)", text.strip().upper())
    if found is None:
        raise InputError(f"--max-size {text!r} is not a size; give bytes, or a number with KB, MB or GB")
    unit = found[2] if found[2] in _UNITS else found[2] + "B"
    return int(float(found[1]) * _UNITS[unit])


def _described(name: str, path: Path, folder: Path | None) -> dict[str, Any]:
    from attnrec.data.public.download import downloaded

    found = downloaded(name, folder)
    assert found is not None  # it has just been downloaded
    return {
        "dataset": name,
        "prepared": str(path),
        "interactions": str(found.interactions),
        "items": str(found.items) if found.items else None,
        "licence": found.entry.licence,
        "page": found.entry.page,
        "citation": found.entry.citation,
    }


class _Display(DownloadObserver):
    """Shows a download on stderr; a context manager around it."""

    def __init__(self) -> None:
        wide = console.width >= 80
        self.bar = Progress(
            FieldsColumn("{task.description}"),
            *([BarColumn(bar_width=None)] if wide else []),
            FieldsColumn("{task.fields[size]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            expand=wide,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def terms(self, name: str) -> None:
        from attnrec.data.public.catalogue import find

        entry = find(name)
        console.print(f"{name}, about {_short(entry.size)}B with titles", style="bold")
        console.print(f"Terms: {entry.terms}")
        console.print(f"Full terms: {entry.page}", soft_wrap=True)
        console.print(f"Cite: {entry.citation}")

    def waiting(self, folder: Path) -> None:
        console.print(f"another process is downloading into {folder}; waiting for it", soft_wrap=True)

    def progress(self, filename: str, done: int, total: int | None) -> None:
        if filename not in self.tasks:
            self.tasks[filename] = self.bar.add_task(filename, total=total, size="")
            if self.bar.disable:
                console.print(f"downloading {filename}", soft_wrap=True)
        size = f"{_short(done)}B" + (f" of {_short(total)}B" if total else "")
        self.bar.update(self.tasks[filename], completed=done, total=total, size=size)

    def retrying(self, reason: str) -> None:
        console.print(f"trying again: {reason}", soft_wrap=True)

    def unpacking(self, archive: Path) -> None:
        console.print(f"unpacking {archive.name}", soft_wrap=True)
