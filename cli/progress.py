"""The display of running trainings: live lines on a terminal, otherwise one line per evaluation or run."""

from __future__ import annotations

import time
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, TaskID, TimeRemainingColumn
from rich.progress import Progress as Bar

from attnrec.cli.output import console, show_reading
from attnrec.cli.spelling import spelled
from attnrec.cli.split_lines import of_left_out, of_split
from attnrec.cli.terminal import FieldsColumn
from attnrec.experiments.pool import ComparisonObserver
from attnrec.training.observer import Metrics, Observer

if TYPE_CHECKING:
    from attnrec.experiments.compare import Comparison
    from attnrec.experiments.messages import Progress
    from attnrec.training.loop import Trainer


class _Live:
    """A display that shows its bar while it is entered."""

    bar: Bar

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()


class TrainingDisplay(_Live, Observer):
    """Shows a training on stderr; a context manager around it."""

    def __init__(self) -> None:
        self.wide = console.width >= 100
        shown = ["epoch {task.fields[epoch]}", "loss {task.fields[loss]}", "|g| {task.fields[norm]}"]
        if self.wide:
            shown.append("{task.fields[rate]} pos/s")
        first, *others = map(FieldsColumn, shown)
        self.bar = Bar(
            first,
            *([BarColumn(bar_width=None)] if self.wide else []),
            *others,
            TimeRemainingColumn(compact=True),
            FieldsColumn("NDCG@10 {task.fields[score]}"),
            console=console,
            disable=not console.is_terminal,
            expand=self.wide,
        )

    def started(self, trainer: Trainer) -> None:
        data, split, config = trainer.data, trainer.split, trainer.config
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        show_reading(data.reading)
        console.print(
            f"{data.name}: {data.num_users:,} users, {data.num_items:,} items, {data.num_interactions:,} interactions; "
            f"{len(split.users('test')):,} users evaluated"
        )
        left_out = None if split.unknown is None else asdict(split.unknown)
        for line in (*of_split(split.description()), *of_left_out(left_out)):
            console.print(line, soft_wrap=True)
        if config.training.start_from and not trainer.progress.best_epoch:
            console.print(f"starts from the best model of {config.training.start_from}", soft_wrap=True)
        console.print(
            f"{config.model.variant}: {parameters:,} parameters on {trainer.device}, loss {config.training.loss}"
        )
        steps = len(trainer.batches)
        done = (trainer.progress.epoch - 1) * steps + trainer.progress.step
        if done:
            console.print(f"resumed after {done:,} steps")
        self.task = self.bar.add_task(
            "", total=config.training.epochs * steps, completed=done, epoch="-", loss="-", norm="-", rate="-", score="-"
        )

    def stepped(self, trainer: Trainer) -> None:
        progress = trainer.progress
        self.bar.update(
            self.task,
            completed=(progress.epoch - 1) * len(trainer.batches) + progress.step,
            epoch=f"{progress.epoch}/{trainer.config.training.epochs}",
            loss=f"{progress.loss:.4f}",
            norm=f"{progress.grad_norm:.3f}",
            rate=f"{progress.positions_per_second:,.0f}",
        )

    def evaluated(self, trainer: Trainer, metrics: Metrics) -> None:
        progress = trainer.progress
        full, sampled = (metrics[protocol][trainer.selected] for protocol in ("full", "sampled"))
        if console.is_terminal:
            self.bar.update(self.task, score=f"{full:.4f} (sampled {sampled:.4f})" if self.wide else f"{full:.4f}")
            return
        best = " *" if progress.waited == 0 else ""
        console.print(
            f"epoch {progress.epoch:4d}  loss {progress.loss:.4f}  |g| {progress.grad_norm:.3f}  "
            f"{progress.positions_per_second:9,.0f} pos/s  valid {trainer.selected} {full:.4f} "
            f"(sampled {sampled:.4f}){best}",
            soft_wrap=True,
        )

    def testing(self, trainer: Trainer, interrupted: bool) -> None:
        if interrupted:
            console.print("interrupted: testing the best epoch so far; `--resume` continues this run")


class ShuffleTestDisplay(TrainingDisplay):
    """Shows the trainings of a shuffle test, which cannot be resumed."""

    def testing(self, trainer: Trainer, interrupted: bool) -> None: ...


class ComparisonDisplay(_Live, ComparisonObserver):
    """Shows the runs of a comparison on stderr; a context manager around it."""

    def __init__(self) -> None:
        self.bar = Bar(
            FieldsColumn("{task.description}", ratio=1, overflow="ellipsis"),
            *([BarColumn(bar_width=20)] if console.width >= 100 else []),
            FieldsColumn("{task.percentage:3.0f} %"),
            FieldsColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self.tasks: dict[tuple[str, int], TaskID] = {}
        self.begun: dict[tuple[str, int], float] = {}

    def started(self, comparison: Comparison, waiting: list[tuple[str, int]]) -> None:
        wanted = comparison.wanted()
        total, variants, seeds = len(wanted), *(len(set(part)) for part in zip(*wanted, strict=True))
        console.print(
            f"{total} runs in {comparison.path}: {variants} variants, {seeds} seed{'s' * (seeds > 1)} each"
            + (f", {total - len(waiting)} of them already finished" if len(waiting) < total else ""),
            soft_wrap=True,
        )
        self.overall = self.bar.add_task("all runs", total=float(len(waiting)), text="")
        self.shares: dict[tuple[str, int], float] = {}

    def run_started(self, variant: str, seed: int) -> None:
        self.begun[variant, seed] = time.monotonic()
        self.tasks[variant, seed] = self.bar.add_task(_label(variant, seed), total=1.0, text="")

    def run_progressed(self, variant: str, seed: int, progress: Progress) -> None:
        best = f"{progress.best:.4f}" if progress.best > 0 else "-"  # none before the first evaluation
        text = f"loss {progress.loss:.4f}  "
        if console.width >= 80:
            text += f"|g| {progress.grad_norm:.3f}  "
        text += f"NDCG@10 {best}"
        self.bar.update(self.tasks[variant, seed], completed=progress.done, text=text)
        self.shares[variant, seed] = progress.done
        self.bar.update(self.overall, completed=sum(self.shares.values()))

    def run_ended(self, variant: str, seed: int, kind: str, message: str) -> None:
        self.bar.remove_task(self.tasks.pop((variant, seed)))
        if kind != "interrupted":
            self.shares[variant, seed] = 1.0
            self.bar.update(self.overall, completed=sum(self.shares.values()))
        seconds = time.monotonic() - self.begun[variant, seed]
        line = f"{_label(variant, seed)}: {kind} after {seconds:,.0f} s"
        first = message.partition("\n")[0]  # the whole message is shown at the end, once for all seeds
        console.print(line + (f": {spelled(first)}" if first else ""), soft_wrap=True)


def _label(variant: str, seed: int) -> str:
    return f"{variant}, seed {seed}"
