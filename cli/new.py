"""`attnrec new`."""

from __future__ import annotations

import keyword
import os
import re
import shlex
from pathlib import Path

import typer

from attnrec.cli.output import console
from attnrec.core.errors import InputError

_STARTER = "StarterAttention"
_NEXT_STEPS = """\
attnrec check THIS_FILE                                    # is it right? no leak, no padding, gradients, ...
    attnrec train --attention THIS_FILE:sharpness=2
    attnrec compare --attention sdpa --attention THIS_FILE --seeds 3
    attnrec bench --attention sdpa --attention THIS_FILE"""
_IMPORTED = ("Tensor", "AttentionOperator", "SequenceContext")  # names that the starting file uses


def new(
    file: Path = typer.Argument(help="The file to write, such as my_variant.py.", show_default=False),
) -> None:
    """Write a commented starting file for a variant of one's own, which passes `attnrec check` as it stands."""
    from attnrec import starter
    from attnrec.core.files import write_atomically

    if file.suffix != ".py":
        raise InputError(f"{file} must end in .py")
    if os.path.lexists(file):  # a link that leads nowhere too
        raise InputError(f"{file} is there already; nothing is overwritten")
    if not file.parent.is_dir():
        raise InputError(f"there is no directory {file.parent}")
    name = class_name(file.stem)
    text = Path(starter.__file__).read_text(encoding="utf-8")
    for placeholder, own in {_STARTER: name, "NEXT_STEPS": _NEXT_STEPS, "THIS_FILE": f"{file}:{name}"}.items():
        text = text.replace(placeholder, own)
    write_atomically(file, text.encode())
    console.print(f"written: {file}, with the operator {name}. Next:", soft_wrap=True)
    console.print(f"  attnrec check {shlex.quote(f'{file}:{name}')}", soft_wrap=True)


def class_name(stem: str) -> str:
    """The name of a class for a file: ``my_variant`` becomes ``MyVariant``; InputError where nothing is left of it."""
    name = "".join(word[:1].upper() + word[1:] for word in re.split(r"[\W_]+", stem))
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{stem!r} makes no name of a class; begin the file's name with a letter")
    return f"{name}Variant" if name in _IMPORTED else name
