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
    """What the file starts; each value is a module of `attnrec.starters`."""

    operator = "operator"
    mixer = "mixer"
    model = "model"


_TRAINED = {
    Kind.operator: "--attention THIS_FILE:sharpness=2",
    Kind.mixer: "--attention THIS_FILE:operator=rotary",
    Kind.model: "--model THIS_FILE:layers=2",
}
"""The option that trains the new file, with one of the options it defines."""


def new(
    file: Path = typer.Argument(help="The file to write, such as my_variant.py.", show_default=False),
    kind: Kind = typer.Option(
        Kind.operator,
        help="An attention operator, a mixer (the whole sub-layer around one), or a model instead of SASRec.",
    ),
) -> None:
    """Write a commented file to start your own variant from; it passes `attnrec check` unchanged."""
    from attnrec import starters
    from attnrec.core.files import write_atomically

    if file.suffix != ".py":
        raise InputError(f"{file} must end in .py")
    if os.path.lexists(file):  # also a broken link
        raise InputError(f"{file} exists already and is not overwritten")
    if not file.parent.is_dir():
        raise InputError(f"there is no directory {file.parent}")
    text = (Path(starters.__file__).parent / f"{kind.value}.py").read_text(encoding="utf-8")
    name = class_name(file.stem, text)
    text = re.sub(r"\bStarter\w+", name, text.replace("NEXT_STEPS", _next_steps(kind)))
    write_atomically(file, text.replace("THIS_FILE", f"{file}:{name}").encode())
    console.print(f"written: {file}, with the {kind.value} {name}. Next:", soft_wrap=True)
    console.print(f"  attnrec check {shlex.quote(f'{file}:{name}')}", soft_wrap=True)


def _next_steps(kind: Kind) -> str:
    """Command lines for the top of the file."""
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
    """A class name for a file that ``text`` does not use already: ``my_variant`` becomes ``MyVariant``.

    Raises InputError if the file's name does not give one.
    """
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[\W_]+", stem))
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"no class can be named after {stem!r}; begin the file's name with a letter")
    return f"{name}Variant" if re.search(rf"\b{name}\b", text) else name
