"""The Python API, which does what the command line does: `train`, `compare`, `prepare`, `shuffle_test`, `plot`.

summary = attnrec.train(attention="awr", epochs=20, out="runs/mine")   # a notebook shows the results
attnrec.compare(["sdpa", MyAttention], epochs=20, seeds=3)
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnrec.analysis.style import Figures
from attnrec.core.arguments import listed, path, refuse, text, truth, whole_number
from attnrec.core.errors import InputError
from attnrec.data.load import load_interactions
from attnrec.data.preparation import split_options
from attnrec.data.prepare import Prepared, described, kept_frame, prepare_sources
from attnrec.data.prepared import check_target, write_prepared
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.frames import is_frame
from attnrec.experiments import compare as comparing
from attnrec.experiments import shuffle_test as shuffling
from attnrec.experiments.pool import ComparisonObserver, run_all
from attnrec.experiments.replacing import claimed_anew
from attnrec.experiments.report import build_result, write_result
from attnrec.results import ComparisonResult, TrainingResult
from attnrec.speed.bench import BenchmarkResult
from attnrec.speed.bench import run as run_benchmark
from attnrec.speed.plan import BenchmarkPlan, plan_of
from attnrec.training.config import TrainConfig
from attnrec.training.given import attention_of
from attnrec.training.listing import listing_options
from attnrec.training.observer import Metrics, Observer
from attnrec.training.presets import with_preset
from attnrec.training.run import train as run_training
from attnrec.training.setup import resumed_config, started_options

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer


class Printer(Observer):
    """Prints a line for every evaluation."""

    def evaluated(self, trainer: Trainer, metrics: Metrics) -> None:
        metric, progress = trainer.selected, trainer.progress
        value = metrics[trainer.config.evaluation.select][metric]
        print(f"epoch {progress.epoch}: loss {progress.loss:.4f}, validation {metric} {value:.4f}")


class ComparisonPrinter(ComparisonObserver):
    """Prints a line when a run of a comparison ends."""

    def run_ended(self, variant: str, seed: int, kind: str, message: str) -> None:
        print(f"{variant}, seed {seed}: {kind}" + (f": {message}" if message else ""))


@listing_options()
def train(
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    trust_code: bool = False,
    observer: Observer | None = None,
    **options: Any,
) -> TrainingResult:
    """Train a model and write a run directory.

    Args:
        config: all options; the defaults if None.
        out: the run directory: new or empty, or with ``resume`` an existing run; by default
            ``runs/DATASET-ATTENTION-TIME``.
        resume: continue the run at ``out`` to the same weights as if it had never stopped. Its options come from the
            run, so ``config`` cannot be given.
        overwrite: replace the run at ``out``. It is moved to ``replaced-N`` there, and removed when the new one has
            its result; other files stay.
        trust_code: execute the variants of a run that somebody else wrote, when resuming it or starting from it.
        observer: called at steps and evaluations; `Printer` prints the evaluations.
        options: fields of `TrainConfig`, listed below; they override ``config``. ``dataset`` may be a data frame of
            pandas, polars or pyarrow; a copy of it is kept in the cache folder. ``attention`` and ``model`` may be
            classes, or `functools.partial` of them with options; ``attention`` also a list with one for each block.
            For a class from a notebook, a copy is trained and kept in the run.

    Returns:
        the summary, as in the run's ``summary.json``; a notebook shows it.

    Raises:
        InputError: data, options or directory cannot be used; nothing is written then.
        RunError: the training failed (loss not finite, disk full).
    """
    truth(resume=resume, overwrite=overwrite, trust_code=trust_code)
    _check_observer(observer, Observer)
    out = None if out is None else path("out", out)
    if resume:
        if out is None or config is not None:
            raise InputError(
                "`resume` needs the run directory as `out`; options come from that run, so leave out `config`"
            )
        if overwrite:
            raise InputError("`resume` continues the run that `overwrite` would replace: give only one of them")
        resumed = resumed_config(out, options)
        return TrainingResult(run_training(resumed, out, observer, resume=True, trust_code=trust_code))
    settings = _configured(config, options)
    place = out or default_run(settings)
    return TrainingResult(run_training(settings, place, observer, overwrite=overwrite, trust_code=trust_code))


def default_run(config: TrainConfig) -> Path:
    """The run directory if the user names none."""
    variant = "".join(c if c.isalnum() else "-" for c in config.model.variant)
    return Path("runs") / f"{Path(config.data.dataset).stem}-{variant}-{time.strftime('%Y%m%d-%H%M%S')}"


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
    """Make a data set from raw files or frames.

    Args:
        source: a file, a frame of pandas, polars or pyarrow, or a list of them; with ``valid`` and ``test``, the
            training part.
        out: the Parquet file to write the data set to.
        valid, test: the held-out parts, if the data define them; in the same form as ``source``.
        items: file with titles and categories of the items.
        recipe: options to start from, ``sasrec`` or ``5-core``.
        name: the data set's name; by default the first file's.
        force: whether ``out`` may be replaced.
        options: fields of `Preparation` (what is kept) and `ReadOptions` (how files are laid out).

    Raises:
        InputError: a source or an option cannot be used.
        RunError: the file cannot be written.
    """
    truth(force=force)
    filters, reading = split_options(options, None if recipe is None else text("recipe", recipe))
    if (valid is None) != (test is None):
        raise InputError("give both `valid` and `test`, or neither")
    items = None if items is None else path("items", items)
    lists = {
        part: [Path(one) if isinstance(one, os.PathLike) else one for one in (own if _is_list(own) else [own])]
        for part, own in (("train", source), ("valid", valid), ("test", test))
        if own is not None
    }
    sources = {part: own for part, own in lists.items() if own}
    target = None if out is None else path("out", out)
    if target is not None:
        check_target(target, [*chain.from_iterable(sources.values()), items], force=force)
    prepared = prepare_sources(sources, filters, reading, text("name", name), items)
    if target is not None:
        write_prepared(prepared.data, described(prepared), target)
    return prepared


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _check_observer(observer: object, wanted: type) -> None:
    if observer is not None and not isinstance(observer, wanted):
        refuse("observer", f"of the class {wanted.__name__}", observer)


def _configured(config: TrainConfig | None, options: dict[str, Any]) -> TrainConfig:
    if not isinstance(config, TrainConfig | None):
        refuse("config", "a TrainConfig", config)
    options = _named(options)
    if config is not None and "preset" in options:
        raise InputError("`config` already holds all options, so `preset` cannot be given with it")
    before = {} if config is None else config.to_mapping()
    if not isinstance(options.get("start_from", ""), str | os.PathLike):
        refuse("start_from", "a path", options["start_from"])
    if options.get("start_from", before.get("start_from")):
        defaults = TrainConfig().to_mapping()  # an option at its default counts as not given
        before = {name: value for name, value in before.items() if value != defaults[name]}
    return TrainConfig.from_mapping(started_options(before | options), "options")


def _named(options: dict[str, Any]) -> dict[str, Any]:
    """The options with a name or path as data set; a frame is read as they say and kept as a file in the cache."""
    dataset = options.get("dataset", "")
    if isinstance(dataset, str | os.PathLike):
        return options | ({"dataset": str(dataset)} if "dataset" in options else {})
    if not is_frame(dataset):
        raise InputError(f"dataset must be a name, a path or a data frame, not a {type(dataset).__name__}")
    reading = {field.name for field in fields(ReadOptions)}
    _, how = split_options({name: value for name, value in options.items() if name in reading}, None)
    rest = {name: value for name, value in options.items() if name not in reading}
    return rest | {"dataset": str(kept_frame(dataset, how))}


@listing_options(without=("attention", "start_from"))
def compare(
    variants: Sequence[Any],
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    *,
    seeds: int = 3,
    jobs: int = 1,
    overwrite: bool = False,
    trust_code: bool = False,
    observer: ComparisonObserver | None = None,
    **options: Any,
) -> ComparisonResult:
    """Train variants over seeds on equal terms, each run in its own process; differences are against the first.

    Args:
        variants: two or more, each as ``NAME[:option=value,...]``, a class, a `functools.partial` of one, or a
            `Variant` with its own options. For a class from a notebook, each run trains a copy, because other processes
            cannot import the notebook.
        config: the options of every run; the defaults if None.
        out: the folder of the comparison; an existing one is continued, and keeps its variants. By default
            ``runs/compare-DATASET``.
        seeds: number of seeds for each variant, counted up from the option ``seed``.
        jobs: trainings to run at a time.
        overwrite: replace the comparison at ``out``. It is moved to ``replaced-N`` there, and removed when the new one
            is complete; other files stay.
        trust_code: execute the variants in runs that somebody else wrote, when resuming them.
        observer: called as the runs proceed; `ComparisonPrinter` prints a line when one ends.
        options: fields of `TrainConfig`, listed below; they override ``config``.

    Raises:
        InputError: a variant, an option, the data or the folder cannot be used.
        RunError: a file of a run is corrupt, or cannot be written.
    """
    truth(overwrite=overwrite, trust_code=trust_code)
    _check_observer(observer, ComparisonObserver)
    if "attention" in options:
        raise InputError("the first argument already names the variants, so attention cannot be given as well")
    variants = listed("variants", variants, "variants")
    seeds, jobs = whole_number("seeds", seeds), whole_number("jobs", jobs, 1)
    settings = _configured(config, options)
    folder = path("out", out) if out is not None else Path("runs") / f"compare-{Path(settings.data.dataset).stem}"
    comparison = comparing.plan(settings, variants, seeds, folder, trust_code=trust_code, overwrite=overwrite)
    with (claimed_anew if overwrite else comparing.claimed)(comparison) as comparison:
        outcome = run_all(comparison, jobs, observer)
        result = ComparisonResult(comparison, outcome, build_result(comparison, outcome.failures))
        write_result(comparison, result.found)
    return result


def bench(
    attention: Sequence[Any] = BenchmarkPlan.attention,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    **options: Any,
) -> BenchmarkResult:
    """Measure operators and mixers: time, memory, how both grow with n and d, and how close to the machine's limits.

    Args:
        attention: each as ``NAME[:option=value,...]``, a class, or one of torch's own such as ``torch:flash``.
        out: a folder, new or empty, for the table (`bench.csv`); if None, nothing is written.
        device: ``auto``, ``cpu`` or ``cuda``.
        options: fields of `BenchmarkPlan`: seq_lens, dims, heads, batch, lengths, precision, passes, seconds, seed.

    Raises:
        InputError: an operator, an option, the device or the folder cannot be used.
    """
    operators = [
        own if isinstance(own, str) else str(attention_of(own)) for own in listed("attention", attention, "names")
    ]
    plan = plan_of(options | {"attention": operators})
    return run_benchmark(plan, device, None if out is None else path("out", out))


@listing_options(without=("dataset",))
def shuffle_test(
    dataset: Any = "synthetic", *, seeds: int = 1, observer: Observer | None = None, **options: Any
) -> shuffling.ShuffleTest:
    """Test whether order matters in a data set: what a model loses when histories are shuffled. Writes no run.

    Args:
        dataset: ``synthetic``, a downloaded public data set by name, the path of an interaction file, or a data frame.
        seeds: number of seeds, counted up from the option ``seed``.
        observer: called during the trainings; `Printer` prints their evaluations.
        options: fields of `TrainConfig`, listed below; by default the trainings are short, about a thousand steps with
            ``ce``.

    Raises:
        InputError: the data or an option cannot be used.
        RunError: a training failed.
    """
    _check_observer(observer, Observer)
    seeds = whole_number("seeds", seeds)
    given = with_preset(_named(options | {"dataset": dataset}))
    data = load_interactions(given["dataset"], TrainConfig.from_mapping(given, "options").data)
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
        attention_map: draw what the model attends to, instead of how the training went.
        items: table of items (TSV or CSV, ids first), to draw the attention between their categories too; by default
            the categories in the data, if it has any.
        category: column of ``items``, by default ``category``.
        slots: number of most recent slots in an attention map.
        users: maximum number of users over whom an attention map is averaged.
        trust_code: execute the variants in a run that somebody else wrote, for its attention maps.

    Raises:
        InputError: the run or the table cannot be used, or there is nothing to draw yet.
        RunError: a file is corrupt.
    """
    run = path("run", run)
    truth(attention_map=attention_map, trust_code=trust_code)
    slots, users = whole_number("slots", slots, 2), whole_number("users", users, 1)
    if items is not None:
        items = path("items", items)
    if items is not None and not attention_map:
        raise InputError("`items` needs `attention_map`")
    if category is not None and items is None:
        raise InputError("`category` needs `items`, the table with this column")
    category = "category" if category is None else text("category", category)
    if comparing.is_comparison(run):
        if attention_map:
            raise InputError(f"{run} is a comparison; give one of the runs under {run / 'runs'}")
        from attnrec.analysis.comparison_figures import comparison_figures

        return Figures(comparison_figures(comparing.open_comparison(run)))
    if attention_map:
        from attnrec.analysis.attention_figures import attention_figures
        from attnrec.recommender import load

        model = load(run, trust_code=trust_code)
        found = attention_figures(model, items=items, category=category, slots=slots, users=users)
        return Figures(found)
    from attnrec.analysis.training_curves import training_figure

    return Figures(training=training_figure(run))
