"""Tables that fit the terminal: long labels are folded, intervals broken in two, and the last columns left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.table import Table

_PIECES = re.compile("[^ ,:]*[ ,:]?")  # pieces between which a text may be broken
_LEAST = 16  # characters for a label; longer ones may be folded
_BORDER = 3  # characters that a column takes besides its own; the table takes one more


def fitted(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int, width: int
) -> tuple[Table, list[str]]:
    """A table of texts and, from column ``numbers_from`` on, numbers; and the headers of columns that did not fit."""
    columns = [[header, *cells] for header, *cells in zip(headers, *rows, strict=True)]
    texts, numbers = columns[:numbers_from], columns[numbers_from:]
    least = [min(_longest(column), _LEAST) if place == 0 else _word(column) for place, column in enumerate(texts)]
    room = width - 1 - sum(least) - _BORDER * len(texts)
    widths = [_number_width(column) for column in numbers]
    if sum(widths) + _BORDER * len(widths) > room:  # break intervals into two lines
        numbers = [[column[0], *(cell.replace(", ", ",\n") for cell in column[1:])] for column in numbers]
        widths = [_number_width(column) for column in numbers]
    kept = len(numbers)
    while kept > 1 and sum(widths[:kept]) + _BORDER * kept > room:
        kept -= 1
    room -= sum(widths[:kept]) + _BORDER * kept
    own_widths = _grown(texts, least, room, width)
    table, shown = Table(), []
    for column, own in zip(texts, own_widths, strict=True):
        shown.append([folded(cell, own) for cell in column])
        table.add_column(shown[-1][0], width=own)
    for (header, *cells), own in zip(numbers[:kept], widths, strict=False):
        shown.append([header, *cells])
        table.add_column(folded(header, own), width=own, justify="right")
    for row in zip(*(cells for _, *cells in shown), strict=True):
        table.add_row(*row)
    return table, list(headers[numbers_from + kept :])


def folded(text: str, width: int) -> str:
    """``text`` in lines of at most ``width`` characters, broken after words or options where possible."""
    lines = [""]
    for piece in _PIECES.findall(text):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            place = lines[-1].rfind("=", 0, width) + 1 or width
            lines[-1:] = [lines[-1][:place], lines[-1][place:]]
    return "\n".join(line.rstrip() for line in lines)


def _grown(texts: Sequence[Sequence[str]], least: Sequence[int], room: int, width: int) -> list[int]:
    """Widths of the text columns: ``least`` plus shares of ``room``; labels first get up to a third of the table."""
    widths = list(least)
    most = [min(_longest(texts[0]), width // 3), *map(_longest, texts[1:]), _longest(texts[0])]
    for place, wanted in zip((*range(len(texts)), 0), most, strict=True):
        more = max(0, min(wanted - widths[place], room))
        widths[place] += more
        room -= more
    return widths


def _longest(column: Sequence[str]) -> int:
    return max(map(len, column))


def _word(column: Sequence[str]) -> int:
    return max(len(piece.rstrip()) for text in column for piece in _PIECES.findall(text))


def _number_width(column: Sequence[str]) -> int:
    """The width of a column of numbers, which are not broken; its header may be broken between words."""
    header, *cells = column
    return max(len(part) for part in (*header.split(), *(line for cell in cells for line in cell.splitlines())))
