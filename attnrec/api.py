"""What the command line does, from Python: `train`, `compare`, `prepare`, `shuffle_test`, `plot`.

`attnrec.load` opens a run.

summary = attnrec.train(attention="awr", epochs=20, out="runs/mine")
attnrec.plot("runs/mine")                                   # figures, shown by a notebook
attnrec.compare(["sdpa", "awr"], epochs=20, seeds=3)        # tables, shown by a notebook
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrec.analysis.style import Figures
from attnrec.data.load import load_interactions
from attnrec.data.preparation import split_options
from attnrec.data.prepare import Prepared, described, kept_frame, prepare_sources
from attnrec.data.prepared import write_prepared
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.frames import is_frame
from attnrec.errors import InputError
from attnrec.experiments import compare as comparing
from attnrec.experiments import shuffle_test as shuffling
from attnrec.experiments.pool import ComparisonObserver, Outcome, run_all
from attnrec.experiments.report import build_result, write_result
from attnrec.experiments.tables import problems, to_markdown
from attnrec.training.config import TrainConfig
from attnrec.training.observer import Metrics, Observer
from attnrec.training.presets import with_preset
from attnrec.training.run import train as run_training
from attnrec.training.setup import resumed_config, started_options

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer


class Printer(Observer):
    """Prints a line at every evaluation."""

    def evaluated(self, trainer: Trainer, metrics: Metrics) -> None:
        metric, progress = trainer.selected, trainer.progress
        value = metrics[trainer.config.select][metric]
        print(f"epoch {progress.epoch}: loss {progress.loss:.4f}, validation {metric} {value:.4f}")


class ComparisonPrinter(ComparisonObserver):
    """Prints a line for every run of a comparison that ends."""

    def run_ended(self, variant: str, seed: int, kind: str, message: str) -> None:
        print(f"{variant}, seed {seed}: {kind}" + (f": {message}" if message else ""))


def train(
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    trust_code: bool = False,
    observer: Observer | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train a model and leave a run directory.

    Args:
        config: all options; their defaults without it.
        out: the run directory: new or empty, or with ``resume`` an existing run; without it
            ``runs/DATASET-ATTENTION-TIME``.
        resume: continue the run at ``out`` to the same weights as if it had never stopped; its options are its own,
            and ``config`` cannot be given.
        trust_code: execute the variants of a run that somebody else wrote, where it is resumed or started from.
        observer: is told of steps and evaluations; `Printer` prints the latter.
        options: fields of `TrainConfig`, which win over ``config``; ``dataset`` may be a data frame of pandas, polars
            or pyarrow, a copy of which is then kept in the cache folder.

    Returns:
        the summary, as in the run's ``summary.json``.

    Raises:
        InputError: data, options or directory cannot be used; nothing is written then.
        RunError: the training failed (loss not finite, disk full).
    """
    if resume:
        if out is None or config is not None:
            raise InputError("resume needs the run directory as out, and takes its options from there, not from config")
        return run_training(resumed_config(out, options), out, observer, resume=True, trust_code=trust_code)
    settings = _configured(config, options)
    return run_training(settings, out or default_run(settings), observer, trust_code=trust_code)


def default_run(config: TrainConfig) -> Path:
    """Where a run goes that was given no directory."""
    variant = "".join(c if c.isalnum() else "-" for c in config.attention)
    return Path("runs") / f"{Path(config.dataset).stem}-{variant}-{time.strftime('%Y%m%d-%H%M%S')}"


def prepare(
    source: Any,
    out: str | Path | None = None,
    *,
    valid: Any = None,
    test: Any = None,
    items: str | Path | None = None,
    recipe: str | None = None,
    name: str = "",
    force: bool = False,
    **options: Any,
) -> Prepared:
    """Make a data set out of raw files or frames.

    Args:
        source: a file, a frame of pandas, polars or pyarrow, or a list of them; with ``valid`` or ``test`` what is
            trained on.
        out: a Parquet file to write the data set to.
        valid, test: what is held out, where the data fix that themselves; as ``source``.
        items: file of the items' titles and categories.
        recipe: options to start from, ``sasrec`` or ``5-core``.
        name: of the data set; by default the first file's.
        force: whether ``out`` may be replaced.
        options: fields of `Preparation` (what is kept) and `ReadOptions` (how files are laid out).

    Raises:
        InputError: a source or an option cannot be used.
        RunError: the file cannot be written.
    """
    filters, reading = split_options(options, recipe)
    if out is not None and Path(out).suffix != ".parquet":
        raise InputError(f"{out}: the file is written as Parquet, so its name must end in .parquet")
    if out is not None and Path(out).exists() and not force:
        raise InputError(f"{out} is there already; --force replaces it")
    if (valid is None) != (test is None):
        raise InputError("a split that is given needs both --valid and --test")
    if items is not None and not isinstance(items, str | Path):
        raise InputError(f"items must be a file, not a {type(items).__name__}")
    lists = {
        part: list(own) if isinstance(own, list | tuple) else [own]
        for part, own in (("train", source), ("valid", valid), ("test", test))
        if own is not None
    }
    sources = {part: own for part, own in lists.items() if own}
    prepared = prepare_sources(sources, filters, reading, name, items)
    if out is not None:
        write_prepared(prepared.data, described(prepared), Path(out))
    return prepared


def _configured(config: TrainConfig | None, options: dict[str, Any]) -> TrainConfig:
    options = _named(options)
    if config is not None and "preset" in options:
        raise InputError("config holds all options already, so preset cannot be given beside it")
    before = {} if config is None else config.to_mapping()
    if options.get("start_from", before.get("start_from")):
        defaults = TrainConfig().to_mapping()  # what is at its default was not asked for
        before = {name: value for name, value in before.items() if value != defaults[name]}
    return TrainConfig.from_mapping(started_options(before | options), "options")


def _named(options: dict[str, Any]) -> dict[str, Any]:
    """Options whose data set is a name or path; a frame is read as they say and kept as a file in the cache."""
    dataset = options.get("dataset", "")
    if isinstance(dataset, str | Path):
        return options | ({"dataset": str(dataset)} if "dataset" in options else {})
    if not is_frame(dataset):
        raise InputError(f"dataset must be a name, a path or a data frame, not a {type(dataset).__name__}")
    reading = {field.name for field in fields(ReadOptions)}
    _, how = split_options({name: value for name, value in options.items() if name in reading}, None)
    rest = {name: value for name, value in options.items() if name not in reading}
    return rest | {"dataset": str(kept_frame(dataset, how))}


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """A comparison and how it went; a notebook shows its tables.

    Attributes:
        comparison: what was compared, and where.
        outcome: which runs failed or are missing.
        values: everything as plain values; what ``comparison.json`` holds.
    """

    comparison: comparing.Comparison
    outcome: Outcome
    values: dict[str, Any]

    def markdown(self) -> str:
        """The tables; what ``comparison.md`` holds."""
        return to_markdown(self.comparison, self.values)

    def figures(self) -> Figures:
        """NDCG against N, validation by epoch and by time, gradient norms; InputError if no run is finished."""
        return plot(self.comparison.path)

    def problems(self) -> list[str]:
        """A line for each run without a result."""
        return problems(self.values)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __str__(self) -> str:
        return self.markdown()


def compare(
    variants: Sequence[str],
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    *,
    seeds: int = 3,
    jobs: int = 1,
    trust_code: bool = False,
    observer: ComparisonObserver | None = None,
    **options: Any,
) -> ComparisonResult:
    """Train variants over seeds on equal terms, each run in a process of its own; differences are against the first.

    Args:
        variants: two or more, each as ``NAME[:option=value,...]``.
        config: the options of every run; their defaults without it.
        out: the folder of the comparison, which goes on where it stopped; ``runs/compare-DATASET`` without.
        seeds: for each variant, counted up from the option ``seed``.
        jobs: trainings at a time.
        trust_code: execute the variants in runs that somebody else wrote, where they are resumed.
        observer: is told how the runs go; `ComparisonPrinter` prints a line when one ends.
        options: fields of `TrainConfig`, which win over ``config``.

    Raises:
        InputError: a variant, an option, the data or the folder cannot be used.
        RunError: a file of a run is corrupt, or cannot be written.
    """
    settings = _configured(config, options)
    folder = out or Path("runs") / f"compare-{Path(settings.dataset).stem}"
    comparison = comparing.plan(settings, variants, seeds, folder, trust_code=trust_code)
    with comparing.claimed(comparison):
        outcome = run_all(comparison, jobs, observer)
        result = ComparisonResult(comparison, outcome, build_result(comparison, outcome.failures))
        write_result(comparison, result.values)
    return result


def shuffle_test(
    dataset: Any = "synthetic", *, seeds: int = 1, observer: Observer | None = None, **options: Any
) -> shuffling.ShuffleTest:
    """Whether order matters in a data set: what a model loses when histories are shuffled; leaves no run directory.

    Args:
        dataset: ``synthetic``, the path of an interaction file, or a data frame.
        seeds: how many, counted up from the option ``seed``.
        observer: is told of the trainings; `Printer` prints their evaluations.
        options: fields of `TrainConfig`; without them the trainings are short, about a thousand steps of ``ce``.

    Raises:
        InputError: the data or an option cannot be used.
        RunError: a training failed.
    """
    given = with_preset(_named(options | {"dataset": dataset}))
    data = load_interactions(given["dataset"], TrainConfig.from_mapping(given, "options"))
    settings = TrainConfig.from_mapping(shuffling.quick_options(data, given) | given, "options")
    return shuffling.shuffle_test(data, settings, seeds, observer)


def plot(
    run: str | Path,
    *,
    attention_map: bool = False,
    items: str | Path | None = None,
    category: str | None = None,
    slots: int = 30,
    users: int = 1000,
    trust_code: bool = False,
) -> Figures:
    """Figures of a run or a comparison by name; a notebook shows them. They are not saved.

    Args:
        run: run directory, or folder of a comparison.
        attention_map: what the model attends to, instead of how the training went.
        items: table of items (TSV or CSV, ids first), for the attention between their categories too; without it,
            the categories that the data brings, if it does.
        category: column of ``items``, by default ``category``.
        slots: most recent slots shown in an attention map.
        users: over whom an attention map is averaged, at most.
        trust_code: execute the variants in a run that somebody else wrote, for its attention maps.

    Raises:
        InputError: the run or the table cannot be used, or there is nothing to draw yet.
        RunError: a file is corrupt.
    """
    if items is not None and not attention_map:
        raise InputError("--items belongs to --attention-map")
    if category is not None and items is None:
        raise InputError("--category needs --items, the table that has the column")
    if comparing.is_comparison(run):
        if attention_map:
            raise InputError(f"{run} is a comparison; give one of the runs under {Path(run) / 'runs'}")
        from attnrec.analysis.comparison_figures import comparison_figures

        return Figures(comparison_figures(comparing.open_comparison(run)))
    if attention_map:
        from attnrec.analysis.attention_maps import attention_figures
        from attnrec.recommender import load

        model = load(run, trust_code=trust_code)
        found = attention_figures(model, items=items, category=category or "category", slots=slots, users=users)
        return Figures(found)
    from attnrec.analysis.training_curves import training_figure

    return Figures(training=training_figure(run))
