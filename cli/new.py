"""`attnrec new`."""

from __future__ import annotations

import keyword
import os
import re
import shlex
from enum import StrEnum
from pathlib import Path

import typer

from attnrec.cli.output import console
from attnrec.core.errors import InputError


class Kind(StrEnum):
    """What a file begins; the value is a module of `attnrec.starters`."""

    operator = "operator"
    mixer = "mixer"
    model = "model"


_TRAINED = {
    Kind.operator: "--attention THIS_FILE:sharpness=2",
    Kind.mixer: "--attention THIS_FILE:operator=rotary",
    Kind.model: "--model THIS_FILE:layers=2",
}
"""What the next steps train: the file with an option of its own."""


def new(
    file: Path = typer.Argument(help="The file to write, such as my_variant.py.", show_default=False),
    kind: Kind = typer.Option(
        Kind.operator,
        help="An attention operator, a mixer (the whole sub-layer around one), or a model in place of SASRec.",
    ),
) -> None:
    """Write a commented starting file for an idea of one's own, which passes `attnrec check` as it stands."""
    from attnrec import starters
    from attnrec.core.files import write_atomically

    if file.suffix != ".py":
        raise InputError(f"{file} must end in .py")
    if os.path.lexists(file):  # a link that leads nowhere too
        raise InputError(f"{file} is there already; nothing is overwritten")
    if not file.parent.is_dir():
        raise InputError(f"there is no directory {file.parent}")
    text = (Path(starters.__file__).parent / f"{kind.value}.py").read_text(encoding="utf-8")
    name = class_name(file.stem, text)
    text = re.sub(r"\bStarter\w+", name, text.replace("NEXT_STEPS", _next_steps(kind)))
    write_atomically(file, text.replace("THIS_FILE", f"{file}:{name}").encode())
    console.print(f"written: {file}, with the {kind.value} {name}. Next:", soft_wrap=True)
    console.print(f"  attnrec check {shlex.quote(f'{file}:{name}')}", soft_wrap=True)


def _next_steps(kind: Kind) -> str:
    """Command lines for the head of the file."""
    trained = _TRAINED[kind]
    what = trained.partition(":")[0]
    lines = [
        "attnrec check THIS_FILE                                    # is it right? no leak, no padding, gradients, ...",
        f"attnrec train {trained}",
        f"attnrec compare --attention sdpa {what} --seeds 3",
    ]
    if kind != Kind.model:
        lines.append(f"attnrec bench --attention sdpa {what}")
    return "\n    ".join(lines)


def class_name(stem: str, text: str) -> str:
    """The name of a class for a file: ``my_variant`` becomes ``MyVariant``, and none that ``text`` uses already.

    InputError where nothing is left of it.
    """
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[\W_]+", stem))
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{stem!r} makes no name of a class; begin the file's name with a letter")
    return f"{name}Variant" if re.search(rf"\b{name}\b", text) else name
