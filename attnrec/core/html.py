"""HTML for notebooks. All text is escaped: ids and names can contain markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def heading(text: str) -> str:
    """A heading above a table."""
    return f"<h4>{escape(text)}</h4>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def code(text: str) -> str:
    """Lines of Python."""
    return f"<pre><code>{escape(text)}</code></pre>"


def items(texts: Iterable[str]) -> str:
    """A bulleted list; "" if there are no texts."""
    found = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{found}</ul>" if found else ""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """A table; the columns from ``numbers_from`` on hold numbers and are aligned to the right."""
    head = "".join(_cell("th", text, place >= numbers_from) for place, text in enumerate(headers))
    body = "".join(
        "<tr>" + "".join(_cell("td", text, place >= numbers_from) for place, text in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(kind: str, text: str, number: bool) -> str:
    return f'<{kind} style="text-align: {"right" if number else "left"}">{escape(text)}</{kind}>'
