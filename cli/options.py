"""Command-line options made from the fields of `TrainConfig`, so that no option is declared twice."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Optional, TypeVar, get_type_hints

import typer

from attnrec.cli.spelling import flag
from attnrec.core.errors import InputError
from attnrec.core.options import check, shown
from attnrec.core.spec import Spec, Specs
from attnrec.training.config import TrainConfig, declared, read_toml
from attnrec.training.manifest import belongs_to_another
from attnrec.training.presets import PRESETS

T = TypeVar("T")


def with_config_options(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add `--preset` and an option for every field of `TrainConfig` to a command whose last parameter is ``**given``.

    An option that the user leaves out arrives as None, so that a configuration file can fill it. Fields named
    in ``without`` are left to the command itself.
    """
    return _with_options([(one.field, one.type) for one in declared().values()], without, [_preset()])


def with_options_of(*classes: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for every field of some dataclasses to a command whose last parameter is ``**given``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for kind in classes:
            types = get_type_hints(kind)
            own = [(field, types[field.name]) for field in dataclasses.fields(kind)]
            command = _with_options(own, (), [])(command)
        return command

    return decorate


def options_of(kind: type[T], given: dict[str, Any]) -> T:
    """The dataclass with the given values of its fields; InputError for a value outside its limits."""
    values = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if given.get(field.name) is not None:
            check(field, given[field.name])
            values[field.name] = given[field.name]
    return kind(**values)


def _with_options(
    options: Sequence[tuple[dataclasses.Field[Any], Any]], without: Collection[str], first: list[inspect.Parameter]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each field, given with its type, after the parameters ``first``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in _parameters(command) if p.kind is not p.VAR_KEYWORD]
        own_first = [p for p in own if p.name in without or p.kind is not p.KEYWORD_ONLY]
        added = [_parameter(field, wanted) for field, wanted in options if field.name not in without]
        parameters = [*own_first, *first, *added, *(p for p in own if p not in own_first)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _parameters(command: Callable[..., None]) -> list[inspect.Parameter]:
    return list(inspect.signature(command, eval_str=True).parameters.values())


def _preset() -> inspect.Parameter:
    text = " ".join(f"{name}: {preset.text}" for name, preset in PRESETS.items())
    option = typer.Option(
        None, "--preset", help=f"Options to start from. {text}", metavar="|".join(PRESETS), rich_help_panel="Data"
    )
    return inspect.Parameter("preset", inspect.Parameter.KEYWORD_ONLY, default=option, annotation=Optional[str])


def _parameter(field: dataclasses.Field[Any], wanted: Any) -> inspect.Parameter:
    if "like" in field.metadata:
        wanted = wanted.__args__[0]
    option = _option(field, wanted, field.metadata["help"], rich_help_panel=field.metadata["group"])
    accepted = wanted if wanted in (int, float, bool) else str
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=Optional[accepted])


def config_option(name: str, before: str = "") -> Any:
    """The option for one field of `TrainConfig`, for a command that takes only a few; ``before`` starts its help."""
    one = declared()[name]
    text = one.field.metadata["help"]
    return _option(one.field, one.type, before + (text[0].lower() + text[1:] if before else text))


def _option(field: dataclasses.Field[Any], wanted: Any, text: str, **more: Any) -> Any:
    meta = field.metadata
    choices = meta.get("choices")
    metavar = None
    if choices:
        metavar = "|".join(choices)
    elif wanted == tuple[int, ...]:
        metavar = "N,N,..."
    elif wanted == tuple[str, ...]:
        metavar = "NAME,NAME,..."
    default = field.default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    shown = meta.get("shown", shown)
    if "like" in meta:
        shown = shown if default is not None else f"as {flag(meta['like'])}"
    name = flag(field.name)
    if wanted is bool:
        name = f"{name}/--no-{name[2:]}"
        shown = {"True": "yes", "False": "no"}.get(shown, shown)
    return typer.Option(None, name, help=text, metavar=metavar, show_default=meta.get("shown", shown), **more)


def configured(file: Path | None, options: dict[str, Any], *, trust_code: bool = False) -> TrainConfig:
    """The options of a TOML file, if given, overridden by those of the command line.

    Both win over a preset. If there is a run to start from, the options of the model are those of that run.
    Raises InputError if the file belongs to somebody else's run and names code, unless ``trust_code``.
    """
    values = (options_of_file(file, trust_code=trust_code, but=options) if file else {}) | options
    if values.get("start_from"):
        from attnrec.training.setup import started_options  # here, because it imports torch, which is slow

        values = started_options(values)
    return TrainConfig.from_mapping(values, str(file or "options"))


def options_of_file(file: Path, *, trust_code: bool = False, but: Collection[str] = ()) -> dict[str, Any]:
    """The options in a TOML file, without those named in ``but``.

    Raises InputError if it cannot be read, or belongs to somebody else's run and names code, unless ``trust_code``.
    """
    values = {name: value for name, value in read_toml(file).items() if name not in but}
    if {"variants", "seeds"} <= values.keys():
        raise InputError(f"{file} is the plan of a comparison, not of a training: give the config.toml of a run in it")
    code = [str(spec) for spec in _specs(values) if spec.is_source]
    if code and not trust_code and belongs_to_another(file):
        raise InputError(
            f"{file} belongs to a run that you did not write, and names code ({' and '.join(code)}): look at it first, "
            "and give --trust-code to let it be executed"
        )
    return values


def _specs(values: dict[str, Any]) -> list[Spec]:
    """The components that the options name."""
    texts = [text for text in (values.get("model"), values.get("attention")) if isinstance(text, str)]
    return [spec for text in texts for spec in Specs.parse(text).parts]


def trust_code_option() -> Any:
    """`--trust-code`, for every command that opens a run."""
    return typer.Option(
        False,
        "--trust-code",
        help="Execute the variants in a run that you did not write yourself.",
        rich_help_panel="Run",
    )


def overwrite_option(what: str) -> Any:
    """`--overwrite`, for the commands that write a run or a comparison."""
    text = f"Replace the {what} in --out: it moves to replaced-N there, and is removed when the new one has a result."
    return typer.Option(False, "--overwrite", help=text, rich_help_panel="Run")


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """``1,5,10`` as numbers; InputError otherwise."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--cutoffs {shown(text)} is not a list of whole numbers such as 1,5,10,20") from None


def given_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options that the user gave, as `TrainConfig.from_mapping` takes them."""
    values = {name: value for name, value in given.items() if value is not None}
    if os.path.isfile(values.get("dataset", "")):
        values["dataset"] = str(Path(values["dataset"]).resolve())  # so that the run can be used from any folder
    if values.get("features"):
        values["features"] = str(Path(values["features"]).resolve())
    if "feature_columns" in values:
        values["feature_columns"] = tuple(filter(None, values["feature_columns"].split(",")))
    if "cutoffs" in values:
        values["cutoffs"] = parse_cutoffs(values["cutoffs"])
    return values
