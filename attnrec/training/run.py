"""Train, resume, replay: from a configuration and a folder to a run directory."""

from __future__ import annotations

from pathlib import Path

from attnrec.core.errors import InputError, RunError
from attnrec.core.locks import FolderLock
from attnrec.data.interactions import Interactions
from attnrec.data.load import load_interactions
from attnrec.data.splits import resolved_kind
from attnrec.training.config import TrainConfig
from attnrec.training.kept_sources import error_of_own_code, kept_sources
from attnrec.training.loop import Trainer
from attnrec.training.nonfinite import Replay, replay_step
from attnrec.training.observer import Observer
from attnrec.training.run_directory import RunDirectory
from attnrec.training.setup import check_start
from attnrec.training.summary import Summary
from attnrec.training.writer import RunWriter


def train(
    config: TrainConfig,
    out: str | Path,
    observer: Observer | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    trust_code: bool = False,
) -> Summary:
    """Train a model and write a run directory.

    Args:
        config: all options.
        out: the run directory: new or empty, or with ``resume`` an existing run.
        observer: called at steps and evaluations.
        resume: continue the run at ``out`` to the same weights as if it had never stopped.
        overwrite: replace the run at ``out``, which is removed when the new one has its result.
        trust_code: execute the variants of a run that somebody else wrote, when resuming it or starting from it.

    Returns:
        the summary, as in the run's ``summary.json``.

    Raises:
        InputError: data, options or directory cannot be used, or the run is in use; nothing is written then.
        RunError: the training failed (loss not finite, disk full), or the run to resume is damaged.
    """
    data = load_interactions(config.data.dataset, config.data)
    config = config.changed(split=resolved_kind(config.data.split, data))
    watcher = observer or Observer()
    if resume:
        return _resumed(config, RunDirectory.open(out), data, watcher, trust_code)
    start = RunDirectory.open(config.training.start_from) if config.training.start_from else None
    if start is not None:
        check_start(config, start.config())
    sources = kept_sources(start, config.model, trust_code=trust_code) if start else None
    trainer = Trainer(config, RunDirectory(out), data, watcher, start.vocabulary() if start else None, sources)
    if start is not None:
        trainer.start_from(start)
    return fit_new(trainer, overwrite=overwrite)


def fit_new(trainer: Trainer, *, overwrite: bool = False) -> Summary:
    """Create the trainer's run directory, and train; raises as `train`."""
    start = trainer.run.path, trainer.config, trainer.vocabulary, trainer.sources.files, trainer.split.checksum
    with RunWriter.create(*start, overwrite=overwrite) as writer:
        return _fit(trainer, writer)


def _fit(trainer: Trainer, writer: RunWriter) -> Summary:
    """`Trainer.fit`; anything that the user's own variant raises, even SystemExit, becomes a RunError."""
    try:
        return trainer.fit(writer)
    except (InputError, RunError, MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        own = error_of_own_code(trainer, error)
        if own is None:
            raise
        if writer.log.end and trainer.best_weights is None:
            writer.failed(str(own))  # there is no model yet, so a new training may begin here once the file is fixed
        raise own from error


def _resumed(
    config: TrainConfig, run: RunDirectory, data: Interactions, observer: Observer, trust_code: bool
) -> Summary:
    with FolderLock(run.path) as lock:
        run = RunDirectory.open(run.path)  # read it again: with the lock, nobody else writes to it
        run.config()  # refuse a damaged configuration now, even though it is not used here
        trainer = _trainer(config, run, data, observer, trust_code)
        snapshot = trainer.restore(run)
        with RunWriter.resume(run, snapshot, lock, signed=run.manifest.own or trust_code) as writer:
            writer.change_config(config)
            return _fit(trainer, writer)


def replay(path: str | Path, *, trust_code: bool = False) -> Replay:
    """Repeat the step of a run whose loss or gradient was not finite, and examine every layer; writes nothing.

    Raises:
        InputError: it is not a run, it has no such step, or its data have changed.
        RunError: one of its files is damaged.
    """
    run = RunDirectory.open(path)
    state = run.nonfinite()
    config = run.config()
    trainer = _trainer(config, run, load_interactions(config.data.dataset, config.data), Observer(), trust_code)
    trainer.check_data(run)
    return replay_step(trainer, state)


def _trainer(
    config: TrainConfig, run: RunDirectory, data: Interactions, observer: Observer, trust_code: bool
) -> Trainer:
    """The trainer of an existing run, as it was at its beginning."""
    vocabulary = run.vocabulary() if config.training.start_from else None
    sources = kept_sources(run, config.model, trust_code=trust_code)
    return Trainer(config, run, data, observer, vocabulary, sources)
