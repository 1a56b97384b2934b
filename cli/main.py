"""The `attnrec` command: its subcommands, and how errors are shown."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from typing import Any, NoReturn, TextIO

import typer

from attnrec.cli import bench, check, compare, data, doctor, evaluate, new, plot, prepare, recommend, train, variants
from attnrec.cli.help import Command, Group
from attnrec.cli.output import lost_output, show_warnings
from attnrec.cli.spelling import running, spelled_error
from attnrec.cli.terminal import Surviving, discard, escaped, one_line, open_standard_streams
from attnrec.core.errors import InputError, RunError, RunWarning, is_out_of_memory
from attnrec.training.interrupts import end_program, was_asked


class _Commands(Group):
    """The subcommands. An interruption that none of them handles is reported; typer would end silently."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("interrupted", 130)


app = typer.Typer(
    cls=_Commands,
    name="attnrec",
    help="Train and compare attention variants for sequential recommendation.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # `cli/help.py` writes the help
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
    app.command(cls=compare.InOrder if command is compare.compare else Command)(command)
app.add_typer(data.data, name="data")

_show_traceback = False
_show_others = warnings.showwarning
_shown: set[str] = set()


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    global _show_traceback
    _show_traceback = debug


def main() -> None:
    """Run the command line: an error is one line, with its place in own code; exit code 2 for bad input, else 1."""
    end_program()
    os.environ["PYTHONSAFEPATH"] = "1"  # torch's compiler starts Pythons, which would import from the current folder
    warnings.simplefilter("always", RunWarning)
    warnings.showwarning = _show_warning
    open_standard_streams()
    with contextlib.redirect_stderr(Surviving(sys.stderr)), contextlib.redirect_stdout(Surviving(sys.stdout)):
        try:
            _run()
        finally:
            running(None)


def _run() -> NoReturn:
    try:
        for argument in sys.argv[1:]:
            _check_encoding(argument)
        code = app(standalone_mode=False)
        sys.stdout.flush()
        if not (isinstance(code, int) and code):  # an interrupted command has its own code
            _check_output()
    except Exception as error:  # noqa: BLE001  (`_report` raises unexpected errors again)
        _report(error)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    sys.exit(code if isinstance(code, int) else 0)


def _check_output() -> None:
    """Raise an error if stdout did not take all results; called when the work is done."""
    failure = getattr(sys.stdout, "failure", None)
    if isinstance(failure, BrokenPipeError):
        raise failure
    if failure is not None:
        raise RunError(lost_output())


def _check_encoding(argument: str) -> None:
    # a run's files are in UTF-8; Python keeps invalid bytes as characters that cannot be written to them
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise InputError(f"{argument!r} is not valid UTF-8; rename the file or folder it names") from None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a RunWarning as one line, once; other warnings as Python shows them."""
    if issubclass(category, RunWarning):
        if str(message) not in _shown:
            show_warnings([str(message)])
        _shown.add(str(message))
    else:
        _show_others(message, category, filename, lineno, file, line)


def _report(error: Exception) -> NoReturn:
    """Show an error as one line and exit. Unexpected exceptions are bugs and are raised again."""
    if _show_traceback:
        raise error
    if was_asked():  # errors that follow from it are not reported
        _fail("interrupted", 130)
    if isinstance(error, OSError):
        discard(sys.stdout)  # if stdout failed, Python would try to write to it again at exit
    if isinstance(error, BrokenPipeError):
        sys.exit(1)  # the reader of our output has gone
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        _fail(f"the name {str(error.filename)[:40]!r}... is too long", 2)
    if isinstance(error, InputError):
        _fail("\n".join(map(one_line, spelled_error(error))), 2)
    if isinstance(error, RunError | OSError):
        _fail("\n".join(map(one_line, spelled_error(error))), 1)
    if is_out_of_memory(error):
        _fail("out of memory; try a smaller --batch-size, --max-len or --dim", 1)
    if isinstance(error, typer.Exit | typer.Abort):
        sys.exit(getattr(error, "exit_code", 130))
    if hasattr(error, "format_message"):  # a usage error of the command-line parser
        _fail(one_line(" ".join(error.format_message().split())), getattr(error, "exit_code", 2))
    raise error


def _fail(message: str, code: int) -> NoReturn:
    print(f"attnrec: error: {escaped(message)}", file=sys.stderr)
    sys.exit(code)
