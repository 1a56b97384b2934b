"""A variant of a comparison as text: ``NAME[:option=value,...] | OPTIONS``, with options of `attnrec train`."""

from __future__ import annotations

import shlex
from typing import Any, Optional

import typer

from attnrec.cli.options import given_options, with_config_options
from attnrec.cli.spelling import flag
from attnrec.core.errors import InputError
from attnrec.experiments.variants import Variant, check_label

_parser = typer.Typer(add_completion=False)


@_parser.command(add_help_option=False)
@with_config_options()
def _own(*, label: Optional[str] = typer.Option(None, help="Name of the variant."), **given: Any) -> None:
    """Declares the options that may follow the bar; only its parser is used."""


def parse_variant(option: str, text: str) -> Variant:
    """The variant that ``text`` after ``option`` (attention or model) describes; InputError if it cannot be parsed."""
    name, bar, rest = text.partition("|")
    where = f"{flag(option)} {text!r}"
    try:
        words = shlex.split(rest)
        given = typer.main.get_command(_parser).make_context("", words).params
    except ValueError as error:  # from shlex: a missing closing quote
        raise InputError(f"{where}: {error}") from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # not a usage error of the parser
            raise
        raise InputError(f"{where}: {' '.join(error.format_message().split())}") from None
    label = given.pop("label")
    own = given_options(given)
    if label is not None:
        try:
            check_label(label)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if name.strip() or not bar:
        if option in own:
            raise InputError(f"{where} names two: {name.strip()} and {own[option]}")
        own = {option: name.strip() if bar else name} | own
    return Variant(label=label or "", **own)
