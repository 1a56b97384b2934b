"""`attnrec bench`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer
from rich import box
from rich.table import Table

from attnrec.cli.output import console, print_json, results, spinner
from attnrec.cli.spelling import spelled
from attnrec.core.errors import InputError, RunError
from attnrec.speed.plan import BOTH, LENGTHS, PASSES, PRECISIONS, BenchmarkPlan

if TYPE_CHECKING:
    from attnrec.speed.bench import BenchmarkResult
    from attnrec.speed.report import Growth
    from attnrec.speed.runner import Measurement

_DEFAULT = BenchmarkPlan()


def bench(
    attention: list[str] = typer.Option(
        list(_DEFAULT.attention),
        help="Attention operator NAME[:option=value,...], or one of torch's own as torch:mask, math, flash, efficient, "
        "cudnn, flex, nested, varlen; give it several times to compare.",
    ),
    seq_lens: str = typer.Option(
        ",".join(map(str, _DEFAULT.seq_lens)), "--seq-len", help="Longest histories (n).", metavar="N,N,..."
    ),
    dims: str = typer.Option(
        ",".join(map(str, _DEFAULT.dims)), "--dim", help="Widths of a head (d).", metavar="N,N,..."
    ),
    heads: int = typer.Option(_DEFAULT.heads, help="Attention heads."),
    batch: int = typer.Option(_DEFAULT.batch, help="Histories in a batch."),
    lengths: str = typer.Option(
        _DEFAULT.lengths, help="Histories all of n items, or with lengths as in real data.", metavar="|".join(LENGTHS)
    ),
    passes: str = typer.Option(
        ",".join(_DEFAULT.passes), help="`forward` only, `both` forward and backward.", metavar=",".join(PASSES)
    ),
    precision: str = typer.Option(_DEFAULT.precision, help="Precision of the inputs.", metavar="|".join(PRECISIONS)),
    device: str = typer.Option("auto", help="Where to compute.", metavar="auto|cpu|cuda"),
    seconds: float = typer.Option(_DEFAULT.seconds, help="How long to measure each operator and pass at each size."),
    seed: int = typer.Option(_DEFAULT.seed, help="Seed of the inputs."),
    out: Optional[Path] = typer.Option(
        None, help="Folder for the result, new or empty.", show_default="runs/bench-TIME"
    ),
    json: bool = typer.Option(False, "--json", help="Print the result as the last line of stdout."),
) -> None:
    """Measure operators: time, memory, how both grow with n and d, and how close they get to the machine's limits."""
    plan = BenchmarkPlan(
        attention=tuple(attention),
        seq_lens=_numbers("--seq-len", seq_lens),
        dims=_numbers("--dim", dims),
        heads=heads,
        batch=batch,
        lengths=lengths,
        precision=precision,
        passes=tuple(passes.split(",")),
        seconds=seconds,
        seed=seed,
    )
    directory = out or Path("runs") / f"bench-{time.strftime('%Y%m%d-%H%M%S')}"
    from attnrec.speed.bench import run

    with spinner("measuring") as show:
        result = run(plan, device, directory, show)
    if result.measurements:
        _show(result)
        _draw(result, directory)
    if result.interrupted:
        done = len({(m.n, m.d) for m in result.measurements})
        console.print(f"interrupted: {done} of {len(plan.sizes())} sizes were measured and are kept")
    if json:
        print_json(result.as_json())
    if result.interrupted:
        raise typer.Exit(130)
    if all(m.error for m in result.measurements):
        raise RunError("nothing could be measured")


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{flag} {text!r} is not a list of whole numbers such as 128,256") from None


def _draw(result: BenchmarkResult, directory: Path) -> None:
    from attnrec.analysis.benchmark_figures import benchmark_figures
    from attnrec.analysis.style import save_figure
    from attnrec.speed.bench import CSV

    files = CSV
    figures = benchmark_figures(result)
    for name, figure in figures.items():
        save_figure(figure, directory, name)
        files += f", {name}.png, {name}.svg"
    if not figures:
        files += " (no figure: that needs two sequence lengths)"
    console.print(f"\nwritten to {directory}: {files}", soft_wrap=True)


# -- tables ------------------------------------------------------------------------------------------------


def _show(result: BenchmarkResult) -> None:
    from attnrec.speed.report import by_panel

    plan, where, kind = result.plan, result.environment, result.device
    unit = 1e12 if kind == "cuda" else 1e9
    rate = where["ceiling_tflops"] * 1e12 / unit
    threads = "" if kind == "cuda" else f", {where['threads']} thread{'s' * (where['threads'] > 1)}"
    name = "TFLOP/s" if kind == "cuda" else "GFLOP/s"
    results.print(f"{where['device']}{threads}, torch {where['torch']}, {plan.precision}; {plan.workload}")
    results.print(f"ceilings: {rate:,.0f} {name} (matrix product), {where['ceiling_gbps']:,.0f} GB/s (copy)")
    for (passes, d), panel in by_panel(result.measurements).items():
        title = "forward and backward" if passes == BOTH else "forward"
        results.print(f"\n{title}, d = {d}", style="bold")
        results.print(_table(panel, name, unit))
    results.print(
        f"ms: median; IQR: interquartile range, in % of it. {name} and GB/s: the work of vanilla causal attention on "
        "the real items (half the square, no padding) divided by the time, for every operator. % of floor: the least "
        "time for that work by the ceilings (roofline), in % of the time; in a cache it can exceed 100."
        + (" kept: what autograd keeps for the backward pass." if BOTH in plan.passes else "")
        + (" peak: most memory allocated on the GPU beyond the inputs." if kind == "cuda" else ""),
        style="dim",
    )
    for line in _notes(result.measurements):
        results.print(spelled(line))
    _show_growth(plan, result.growth)


def _table(panel: list[Measurement], name: str, unit: float) -> Table:
    """One row per operator, one section per length; empty columns are left out."""
    columns: dict[str, Callable[[Measurement], str]] = {
        "n": lambda m: str(m.n),
        "operator": lambda m: _foldable(m.operator),
        "ms": lambda m: _digits(m.ms) or "-",
        "IQR\n%": lambda m: f"{100 * (m.ms_high - m.ms_low) / m.ms:.0f}" if m.ms and m.ms_high and m.ms_low else "",
        name.replace("/", "\n/"): lambda m: _digits(m.tflops and m.tflops * 1e12 / unit),
        "GB/s": lambda m: "" if m.gbps is None else f"{m.gbps:,.{0 if m.gbps >= 10 else 1}f}",
        "% of\nfloor": lambda m: "" if m.share is None else f"{100 * m.share:.0f}",
        "kept\nMB": lambda m: _digits(m.kept_bytes and m.kept_bytes / 1e6),
        "peak\nMB": lambda m: _digits(m.peak_bytes and m.peak_bytes / 1e6),
    }
    cells = {header: [cell(m) for m in panel] for header, cell in columns.items()}
    cells = {header: column for header, column in cells.items() if any(column)}
    table = _plain_table()
    for header, column in cells.items():
        widest = max(len(word) for text in (header, *column) for word in text.split())
        if header == "operator":
            table.add_column(header, overflow="fold", min_width=min(widest, 18))
        else:
            table.add_column(header, justify="right", min_width=widest)
    last = None
    for m, row in zip(panel, zip(*cells.values(), strict=True), strict=True):
        if last not in (None, m.n):
            table.add_section()
        table.add_row("" if m.n == last else row[0], *row[1:])
        last = m.n
    return table


def _plain_table() -> Table:
    return Table(box=box.SIMPLE, padding=(0, 1 if results.width >= 80 else 0, 0, 0), show_edge=False)


def _foldable(operator: str) -> str:
    """The operator with each option on its own line if the terminal is narrow."""
    return operator.replace(":", ":\n", 1).replace(",", ",\n") if "=" in operator and results.width < 80 else operator


def _digits(value: float | None) -> str:
    """Three significant digits without an exponent; "" for None."""
    if value is None:
        return ""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def _notes(measurements: Sequence[Measurement]) -> list[str]:
    """One line for each failure, and for each preparation that is not part of the measured time."""
    failures: dict[tuple[str, str], dict[str, None]] = {}
    for m in measurements:
        if m.error:
            failures.setdefault((m.operator, m.error), {})[f"n={m.n} d={m.d} {m.passes}"] = None
    lines = []
    for (operator, error), places in failures.items():
        everywhere = len(places) == sum(m.operator == operator for m in measurements)
        lines.append(f"{operator}: {error}" if everywhere else f"{operator}, {', '.join(places)}: {error}")
    prepared = [m for m in measurements if m.setup_ms is not None and m.passes == measurements[0].passes]
    return lines + [
        f"{m.operator}, n={m.n} d={m.d}: not counted, {m.setup_ms:,.0f} ms of preparation" for m in prepared
    ]


def _show_growth(plan: BenchmarkPlan, grown: Sequence[Growth]) -> None:
    results.print("\nhow time and memory grow (the claim for attention: time ~ n² d, memory ~ n d)", style="bold")
    table = _plain_table()
    table.add_column("operator", overflow="fold", min_width=8)
    for header in ("pass", "time", "memory"):
        table.add_column(header)
    for g in grown:
        if not g.why:
            table.add_row(_foldable(g.operator), g.passes, _powers(g.time), _powers(g.memory))
    if table.rows:
        results.print(table)
        results.print(
            "Least squares on logarithms over the sizes above. Short sequences, where softmax, memory and launching "
            "take most of the time, lower the exponents"
            + ("." if plan.lengths == "full" else "; so do lengths as in real data, which rarely reach n."),
            style="dim",
        )
    for why, names in _by_reason(grown).items():
        results.print(f"none for {', '.join(names)}: {why}")


def _powers(exponents: dict[str, float]) -> str:
    return "  ".join(f"{size}^{round(exponent, 2) + 0.0:.2f}" for size, exponent in exponents.items()) or "-"


def _by_reason(grown: Sequence[Growth]) -> dict[str, list[str]]:
    """The operators without exponents, by the reason."""
    reasons: dict[str, list[str]] = {}
    for g in grown:
        if g.why and g.operator not in reasons.setdefault(g.why, []):
            reasons[g.why].append(g.operator)
    return reasons
