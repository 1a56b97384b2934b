"""The `attnrec` command: its subcommands, and how errors are shown."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from attnrec.cli import bench, check, compare, data, doctor, evaluate, new, plot, prepare, recommend, train, variants
from attnrec.errors import InputError, RunError

app = typer.Typer(
    name="attnrec",
    help="Train and compare attention variants for sequential recommendation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    train.train,
    compare.compare,
    bench.bench,
    evaluate.evaluate,
    recommend.recommend,
    plot.plot,
    variants.variants,
    new.new,
    check.check,
    prepare.prepare,
    doctor.doctor,
):
    app.command()(command)
app.add_typer(data.data, name="data")

_show_traceback = False


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    global _show_traceback
    _show_traceback = debug


def main() -> None:
    """Run the command line; an error is one line, with exit code 2 for bad input and 1 for a failure."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001  (what is not known below is raised again)
        _report(error)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception) -> NoReturn:
    """Show an error as one line and exit; what is no error of use or of the machine is our defect, and raised."""
    if _show_traceback:
        raise error
    if isinstance(error, BrokenPipeError):
        # the reader of our output has gone; keep Python from complaining while it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if isinstance(error, InputError):
        _fail(str(error), 2)
    if isinstance(error, RunError | OSError):
        _fail(str(error), 1)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
        _fail("out of memory; try a smaller --batch-size, --max-len or --dim", 1)
    if isinstance(error, typer.Exit | typer.Abort):
        sys.exit(getattr(error, "exit_code", 130))
    if hasattr(error, "format_message"):  # a usage error of the command-line parser
        _fail(" ".join(error.format_message().split()), getattr(error, "exit_code", 2))
    raise error


def _fail(message: str, code: int) -> NoReturn:
    print(f"attnrec: error: {message}", file=sys.stderr)
    sys.exit(code)
