"""The training loop: epochs, validation, early stopping, interruption and resume.

Everything random follows from the seed: the order of users from (seed, epoch), negatives from a generator
of their own, dropout from torch's global one. The state written between steps holds both generators, so a
resumed run goes through the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attnrec.data.batches import SequenceBatch, TrainingBatches
from attnrec.data.interactions import Interactions
from attnrec.data.load import load_interactions
from attnrec.data.splits import resolved_kind
from attnrec.errors import RunError
from attnrec.evaluation.metrics import check_cutoffs
from attnrec.evaluation.ranking import Evaluator
from attnrec.evaluation.targets import training_popularity
from attnrec.training.config import TrainConfig
from attnrec.training.gradients import GradientNormStatistics, global_gradient_norm
from attnrec.training.interrupts import InterruptRequest
from attnrec.training.kept_variants import with_kept_variants
from attnrec.training.objective import Objective
from attnrec.training.observer import Metrics, Observer, Progress
from attnrec.training.run_directory import MetricsLog, RunDirectory, Vocabulary
from attnrec.training.setup import build_model, check_start, choose_device, keep_freed_memory, split_of
from attnrec.training.state import restore_state, state_of
from attnrec.training.summary import summarised

_FLUSH_EVERY = 16  # steps between readings of losses and norms, each of which waits for a GPU
_SECONDS_BETWEEN_STATES = 20.0


class Trainer:
    """One training, from its configuration to its summary.

    Args:
        config: all options.
        run: the run directory that it writes to.
        data: the interactions that ``config.dataset`` names.
        observer: is told of steps and evaluations.
        vocabulary: of the run that it starts from; items that are not in it are left out.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunDirectory,
        data: Interactions,
        observer: Observer,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.config, self.run, self.observer = config, run, observer
        keep_freed_memory()
        self.device = choose_device(config.device)
        torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
        self.split = split_of(config, data, vocabulary)
        self.data = data = self.split.data
        self.trained = training_popularity(self.split) > 0
        if vocabulary is not None:
            self.trained |= vocabulary.trained()
        self.batches = TrainingBatches(self.split, config.max_len, config.batch_size, config.seed)
        self.objective = Objective(config, self.split, self.device)
        self.cutoffs = check_cutoffs(sorted({*config.cutoffs, min(10, data.num_items)}), data.num_items)
        self.selected = f"NDCG@{min(10, data.num_items)}"
        torch.manual_seed(config.seed)
        timed = data.timestamps is not None
        own = replace(config, attention=with_kept_variants(run.path, config.attention))
        self.model = build_model(own, data.num_items, data.num_users, self.device, timestamps=timed)
        torch.manual_seed(config.seed)  # so that dropout does not depend on how much a variant's start has drawn
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        self.optimizer = optimizer(
            self.model.parameters(), config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True
        )
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.progress = Progress()
        self.gradients = GradientNormStatistics()
        self.last_batch_gradients = GradientNormStatistics()
        self.best_metrics: Metrics = {}
        self.interrupt = InterruptRequest()
        self.log_size = 0

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of the data in the model's order, and which items it does not learn."""
        items = self.data.item_ids
        untrained = tuple(item for item, known in zip(items, self.trained[1:].tolist(), strict=True) if not known)
        users = self.data.user_ids if self.config.user_vector else ()
        return Vocabulary(items, users, untrained, self.data.item_titles or ())

    # -- the run ---------------------------------------------------------------------------------------

    def fit(self) -> dict[str, Any]:
        """Train, write the run directory, and return the summary.

        The first Ctrl-C ends the training after the step in progress, but not the run: the state is saved,
        the best model tested. A second one stops at once, and the state last saved remains.

        Raises:
            RunError: the loss is not finite, or a file cannot be written.
        """
        self.log = MetricsLog(self.run, self.log_size)
        self.validator = self._evaluator("valid")
        self.observer.started(self)
        with self.interrupt:
            try:
                self._train_epochs()
            finally:
                self.log.close()
        interrupted = self.interrupt.requested and not self._finished()
        self.observer.testing(self, interrupted)
        self._save_state()
        if not self.progress.best_epoch:
            self._validate()  # so that a run interrupted early can be used
        summary = self._summary(interrupted)
        self.run.write_summary(summary)
        return summary

    def _train_epochs(self) -> None:
        progress, config = self.progress, self.config
        saved = time.monotonic()
        while not (self._finished() or self.interrupt.requested):
            if not self._train_epoch():
                return
            if progress.epoch % config.eval_every == 0 or progress.epoch == config.epochs:
                self._validate()
            progress.epoch += 1
            progress.step = 0
            if time.monotonic() - saved > _SECONDS_BETWEEN_STATES:
                self._save_state()
                saved = time.monotonic()

    def _finished(self) -> bool:
        return self.progress.epoch > self.config.epochs or self.out_of_patience()

    def out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.progress.waited

    def _train_epoch(self) -> bool:
        """The steps left of the current epoch; False when interrupted before its end."""
        progress = self.progress
        begun, done = time.perf_counter(), 0
        first = progress.step
        pending: list[Tensor] = []
        self.model.train()
        try:
            for batch in self.batches.epoch(progress.epoch, first):
                pending.append(self.step(batch.to(self.device)))
                progress.step += 1
                done += len(batch.items)
                stopping = self.interrupt.requested
                if stopping or len(pending) == _FLUSH_EVERY or progress.step == len(self.batches):
                    self._read(pending)
                    progress.positions_per_second = done / (time.perf_counter() - begun)
                    self.observer.stepped(self)
                if stopping and progress.step < len(self.batches):
                    return False
        finally:
            self._read(pending)
            seconds = time.perf_counter() - begun
            progress.training_seconds += seconds
        if first == 0:
            progress.seconds_per_epoch.append(seconds)
        return True

    def step(self, batch: SequenceBatch) -> Tensor:
        """One optimiser step; the loss and the gradient norm, [2]."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            outputs = self.model(batch)
        loss = self.objective(outputs.float(), self.model.item_vectors, batch, self.generator)
        loss.backward()
        norm = global_gradient_norm(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return torch.stack([loss.detach(), norm])

    def _learning_rate(self) -> float:
        config = self.config
        step = (self.progress.epoch - 1) * len(self.batches) + self.progress.step
        rate = config.lr * min(1.0, (step + 1) / max(1, config.warmup))
        if config.schedule == "plateau":
            rate *= config.lr_factor**self.progress.falls
        if config.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / (config.epochs * len(self.batches))))
        return rate

    def _read(self, pending: list[Tensor]) -> None:
        """Log the losses and norms gathered since the last reading; RunError if one is not finite."""
        if not pending:
            return
        progress = self.progress
        values = torch.stack(pending).tolist()
        first = (progress.epoch - 1) * len(self.batches) + progress.step - len(pending) + 1
        pending.clear()
        for step, (loss, norm) in enumerate(values, first):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                what = "loss" if not math.isfinite(loss) else "gradient norm"
                raise self._diverged(f"the {what} is {loss if what == 'loss' else norm} at step {step}")
            self.gradients.add(norm)
            if step % len(self.batches) == 0:
                self.last_batch_gradients.add(norm)
            self.log.write({"step": step, "epoch": progress.epoch, "loss": loss, "grad_norm": norm})
        progress.loss, progress.grad_norm = values[-1]

    def _diverged(self, what: str) -> RunError:
        return RunError(
            f"{what} (epoch {self.progress.epoch}); try a smaller --lr than {self.config.lr:g}, --clip-norm 1, "
            "or --warmup 100"
        )

    # -- evaluation ------------------------------------------------------------------------------------

    def _evaluator(self, part: str) -> Evaluator:
        return Evaluator(self.split, part, self.config.max_len)

    def _evaluate(self, evaluator: Evaluator) -> Metrics:
        self.model.eval()
        return evaluator.run(self.model, self.device).means(self.cutoffs)

    def _validate(self) -> None:
        progress = self.progress
        try:
            metrics = self._evaluate(self.validator)
        except RunError as error:
            raise self._diverged(str(error)) from error
        score = metrics[self.config.select][self.selected]
        if score > progress.best_score:
            progress.best_epoch, progress.best_score, progress.waited = progress.epoch, score, 0
            self.best_metrics = metrics
            self.run.write_weights(self.model.state_dict())
        else:
            progress.waited += 1
            if self.config.schedule == "plateau" and progress.waited % self.config.lr_patience == 0:
                progress.falls += 1
        if not self.log.file.closed:
            self.log.write({"epoch": progress.epoch, "seconds": progress.training_seconds, "valid": metrics})
        self.observer.evaluated(self, metrics)

    def _summary(self, interrupted: bool) -> dict[str, Any]:
        self.model.load_state_dict(self.run.weights())
        self.model.eval()
        evaluator = self._evaluator("test")
        test = evaluator.run(self.model, self.device)
        self.run.write_test_ranks(test)
        return summarised(self, evaluator, test, interrupted)

    # -- stop and resume -------------------------------------------------------------------------------

    def _save_state(self) -> None:
        self.run.write_state(state_of(self))

    def logged_bytes(self) -> int:
        """Length of `metrics.jsonl`, so that what is logged after a state can be cut off."""
        return self.log.path.stat().st_size if self.log.file.closed else self.log.size()

    def start_from(self, run: RunDirectory) -> None:
        """Begin with the best weights of another run; InputError where it has none, RunError where they do not fit."""
        weights = run.weights()
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"the weights of {run} do not fit its configuration") from error

    def restore(self) -> None:
        """Continue where the state in the run directory stands.

        Raises:
            InputError: there is no state, or it belongs to other data.
            RunError: the state is corrupt.
        """
        restore_state(self, self.run.state())


def train(
    config: TrainConfig, out: str | Path, observer: Observer | None = None, *, resume: bool = False
) -> dict[str, Any]:
    """Train a model and leave a run directory.

    Args:
        config: all options.
        out: the run directory: new or empty, or with ``resume`` an existing run.
        observer: is told of steps and evaluations.
        resume: continue the run at ``out`` to the same weights as if it had never stopped.

    Returns:
        the summary, as in the run's ``summary.json``.

    Raises:
        InputError: data, options or directory cannot be used; nothing is written then.
        RunError: the training failed (loss not finite, disk full).
    """
    data = load_interactions(config.dataset, config)
    config = replace(config, split=resolved_kind(config.split, data))
    run = RunDirectory.open(out) if resume else RunDirectory(out)
    if resume:
        trainer = Trainer(config, run, data, observer or Observer(), run.vocabulary() if config.start_from else None)
        trainer.restore()
        run.write_config(config)
        return trainer.fit()
    start = RunDirectory.open(config.start_from) if config.start_from else None
    if start is not None:
        check_start(config, start.config())
        config = replace(config, attention=with_kept_variants(start.path, config.attention))
    trainer = Trainer(config, run, data, observer or Observer(), start.vocabulary() if start else None)
    if start is not None:
        trainer.start_from(start)
    RunDirectory.create(out, config, trainer.vocabulary)
    return trainer.fit()
