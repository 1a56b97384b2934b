"""The training loop: epochs, validation, early stopping, interruption, snapshots.

Everything random follows from the seed: the order of users from (seed, epoch), negatives from a generator
of their own, dropout from torch's global one. A snapshot between steps holds both generators, so a
resumed run goes through the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import math
import time
import warnings

import torch
from torch import Tensor

from attnrec.core.devices import choose_device, keep_freed_memory
from attnrec.core.errors import InputError, RunError, RunWarning
from attnrec.data.batches import SequenceBatch, TrainingBatches
from attnrec.data.interactions import Interactions
from attnrec.evaluation.metrics import check_cutoffs
from attnrec.evaluation.ranking import Evaluator
from attnrec.evaluation.targets import training_popularity
from attnrec.models.base import with_bias
from attnrec.training.config import TrainConfig
from attnrec.training.gradients import GradientNormStatistics, global_gradient_norm
from attnrec.training.interrupts import InterruptRequest
from attnrec.training.kept_sources import Sources, named_sources
from attnrec.training.manifest import Snapshot
from attnrec.training.memory import TrainingSize, check_memory
from attnrec.training.nonfinite import NotFinite, keep_step
from attnrec.training.objective import Objective
from attnrec.training.observer import Metrics, Observer, Progress
from attnrec.training.optimizer import build_optimizer, learning_rate
from attnrec.training.run_directory import RunDirectory, Vocabulary
from attnrec.training.setup import build_for, split_of
from attnrec.training.state import restore_state, state_of
from attnrec.training.summary import Summary, summarised
from attnrec.training.tensors import from_bytes, to_bytes
from attnrec.training.writer import RunWriter

_FLUSH_EVERY = 16  # steps between readings of losses and norms, each of which waits for a GPU
_SECONDS_BETWEEN = 4.0  # snapshots, and readings of slow steps
_SNAPSHOT_SHARE = 0.012  # of the time, at most, goes into snapshots


class Trainer:
    """One training, from its configuration to its summary.

    Args:
        config: all options.
        run: the run directory that it writes to.
        data: the interactions that ``config.data.dataset`` names.
        observer: is told of steps and evaluations.
        vocabulary: of the run that it starts from; items that are not in it are left out.
        sources: what the model is built from, where that is not what ``config.model`` names now.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunDirectory,
        data: Interactions,
        observer: Observer,
        vocabulary: Vocabulary | None = None,
        sources: Sources | None = None,
    ) -> None:
        self.config, self.run, self.observer = config, run, observer
        keep_freed_memory()
        self.device = choose_device(config.machine.device)
        torch.set_float32_matmul_precision("high" if config.machine.precision == "tf32" else "highest")
        self.split = split_of(config, data, vocabulary)
        self.data = data = self.split.data
        self.trained = training_popularity(self.split) > 0
        if vocabulary is not None:
            self.trained |= vocabulary.trained()
        self.batches = TrainingBatches(
            self.split, config.model.max_len, config.training.batch_size, config.training.seed
        )
        check_memory(config, TrainingSize.of(self.batches, data), self.device)
        self.objective = Objective(config, self.split, self.device)
        self.cutoffs = check_cutoffs(sorted({*config.evaluation.cutoffs, min(10, data.num_items)}), data.num_items)
        self.selected = f"NDCG@{min(10, data.num_items)}"
        torch.manual_seed(config.training.seed)
        self.sources = sources or named_sources(config.model)
        self.model = build_for(config, data, self.device, self.sources)
        self.model.fit_counts(self.split)
        # so that dropout does not depend on how much a variant's start has drawn
        torch.manual_seed(config.training.seed)
        self.optimizer = build_optimizer(config.training, self.model.parameters())
        self.learns = any(parameter.requires_grad for parameter in self.model.parameters())
        self.generator = torch.Generator(self.device).manual_seed(config.training.seed)
        self.progress = Progress()
        self.gradients = GradientNormStatistics()
        self.last_batch_gradients = GradientNormStatistics()
        self.best_metrics: Metrics = {}
        self.best_weights: bytes | None = None
        self.interrupt = InterruptRequest()
        self.last_step = -1  # of this session, where it is not the end of the training
        self.next_snapshot = time.monotonic() + _SECONDS_BETWEEN

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of the data in the model's order, and which items it does not learn."""
        items = self.data.item_ids
        untrained = tuple(item for item, known in zip(items, self.trained[1:].tolist(), strict=True) if not known)
        users = self.data.user_ids if self.config.model.user_vector else ()
        return Vocabulary(items, users, untrained, self.data.item_titles or (), self.model.kept_features())

    # -- the run ---------------------------------------------------------------------------------------

    def fit(self, writer: RunWriter) -> Summary:
        """Train, write the run, and return the summary.

        The first Ctrl-C (or another signal of `interrupts`) ends the training after the step in progress, but not the
        run: a snapshot is taken, the best model tested. A second one stops at once, and the last snapshot remains.

        Raises:
            NotFinite: a loss or a gradient is not finite; the step is kept, for `attnrec.training.run.replay`.
            RunError: a file cannot be written.
        """
        self.writer = writer
        with self.interrupt:
            self.validator = self._evaluator("valid")
            if not writer.manifest.snapshots:
                self._snapshot()
            self.observer.started(self)
            try:
                self._train_epochs()
            except NotFinite as error:
                keep_step(self, error)
                raise
            interrupted = self.interrupt.requested and not self._finished()
            if writer.manifest.snapshots[0].log_bytes < writer.log.end:  # a step or an evaluation came since
                self._snapshot()  # before anything is tested or shown
            if interrupted and writer.has_result:
                return self._earlier_result()
            self.observer.testing(self, interrupted)
            if self.best_weights is None:
                self._validate(logged=False)  # so that a run interrupted early can be used
            return self._finish(interrupted)

    def _train_epochs(self) -> None:
        progress, config = self.progress, self.config
        while not (self._finished() or self._stopping()):
            if not self._train_epoch():
                return
            if progress.epoch % config.evaluation.eval_every == 0 or progress.epoch == config.training.epochs:
                self._validate()
            progress.epoch += 1
            progress.step = 0
            self._snapshot_if_due()

    def train_until(self, step: int) -> None:
        """Train on until ``step`` steps have been done since the beginning, or Ctrl-C; raises as `fit`."""
        self.last_step = step
        self._train_epochs()

    def _stopping(self) -> bool:
        return self.interrupt.requested or self.steps_done == self.last_step

    def _finished(self) -> bool:
        return self.progress.epoch > self.config.training.epochs or self.out_of_patience() or not self.learns

    def out_of_patience(self) -> bool:
        return 0 < self.config.evaluation.patience <= self.progress.waited

    def _train_epoch(self) -> bool:
        """The steps left of the current epoch; False when interrupted before its end."""
        progress = self.progress
        first, done, seconds = progress.step, 0, 0.0
        pending: list[tuple[Tensor, bool]] = []
        mark = time.perf_counter()
        self.model.train()
        for batch in self.batches.epoch(progress.epoch, first):
            pending.append(self.step(batch.to(self.device)))
            progress.step += 1
            done += len(batch.items)
            stopping, last = self._stopping(), progress.step == len(self.batches)
            passed = time.perf_counter() - mark
            if not (stopping or last or len(pending) == _FLUSH_EVERY or passed > _SECONDS_BETWEEN):
                continue
            self._read(pending)
            passed = time.perf_counter() - mark
            seconds += passed
            progress.training_seconds += passed
            progress.positions_per_second = done / seconds
            self.observer.stepped(self)
            if self.interrupt.requested:
                self._snapshot()  # at once: who asks for the end may not wait for a validation
            if stopping and not last:
                return False
            if not last:  # then the validation may still belong to it
                self._snapshot_if_due()
            mark = time.perf_counter()
        if first == 0:
            progress.seconds_per_epoch.append(seconds)
        return True

    def step(self, batch: SequenceBatch) -> tuple[Tensor, bool]:
        """One optimiser step; the loss and the gradient norm, [2], and whether the step was skipped for them."""
        values = self.backward(batch)
        # to ask for each step's values is to wait for a GPU, so only where it was wanted
        skipped = self.progress.skipped < self.config.training.skip_nonfinite and not bool(values.isfinite().all())
        if skipped:
            self.progress.skipped += 1
        else:
            self.optimizer.step()
        return values, skipped

    def backward(self, batch: SequenceBatch) -> Tensor:
        """The gradients of a batch, clipped, in the parameters; the loss, and their norm before, [2]."""
        config = self.config.training
        steps = config.epochs * len(self.batches)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.steps_done, steps, self.progress.falls)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.machine.precision == "bf16"):
            outputs = self.model.states(batch)
        states, vectors = with_bias(outputs.float(), self.model.item_vectors, self.model.item_bias)
        loss = self.objective(states, vectors, batch, self.generator)
        extra = self.model.auxiliary_loss(outputs, batch)
        if extra is not None:
            loss = loss + extra
        loss.backward()
        norm = global_gradient_norm(self.model.parameters(), self.config.training.clip_norm)
        return torch.stack([loss.detach(), norm])

    def _read(self, pending: list[tuple[Tensor, bool]]) -> None:
        """Log the losses and norms gathered since the last reading; NotFinite if one is not."""
        progress = self.progress
        values = torch.stack([own for own, _ in pending]).tolist()
        skipped = [was for _, was in pending]
        first = self.steps_done - len(pending) + 1
        pending.clear()
        for step, (loss, norm), left_out in zip(range(first, self.steps_done + 1), values, skipped, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                what = "loss" if not math.isfinite(loss) else "gradient norm"
                if not left_out:
                    raise self._diverged(f"the {what} is {loss if what == 'loss' else norm} at step {step}", step)
                self.writer.log.write({"step": step, "epoch": progress.epoch, "skipped": f"{what} not finite"})
                continue
            self.gradients.add(norm)
            if step % len(self.batches) == 0:
                self.last_batch_gradients.add(norm)
            self.writer.log.write({"step": step, "epoch": progress.epoch, "loss": loss, "grad_norm": norm})
            progress.loss, progress.grad_norm = loss, norm
        self.writer.log.flush()  # for who reads it meanwhile

    @property
    def steps_done(self) -> int:
        """Optimiser steps since the beginning."""
        return (self.progress.epoch - 1) * len(self.batches) + self.progress.step

    def _diverged(self, what: str, step: int) -> NotFinite:
        advice = f"try a smaller `lr` than {self.config.training.lr:g}, `clip_norm=1`, or `warmup=100`"
        return NotFinite(f"{what} (epoch {self.progress.epoch}); {advice}", step)

    # -- evaluation ------------------------------------------------------------------------------------

    def _evaluator(self, part: str) -> Evaluator:
        return Evaluator(self.split, part, self.config.model.max_len)

    def _evaluate(self, evaluator: Evaluator) -> Metrics:
        self.model.eval()
        return evaluator.run(self.model, self.device).means(self.cutoffs)

    def _validate(self, *, logged: bool = True) -> None:
        progress = self.progress
        try:
            metrics = self._evaluate(self.validator)
        except RunError as error:
            raise self._diverged(str(error), self.steps_done) from error
        score = metrics[self.config.evaluation.select][self.selected]
        if score > progress.best_score:
            progress.best_epoch, progress.best_score, progress.waited = progress.epoch, score, 0
            self.best_metrics = metrics
            self.best_weights = to_bytes(self.model.state_dict())
        else:
            progress.waited += 1
            if self.config.training.schedule == "plateau" and progress.waited % self.config.training.lr_patience == 0:
                progress.falls += 1
        if logged:
            self.writer.log.write({"epoch": progress.epoch, "seconds": progress.training_seconds, "valid": metrics})
        self.observer.evaluated(self, metrics)

    def _earlier_result(self) -> Summary:
        """What the run has from before, for one that went on from a snapshot before its result and did not reach it."""
        warnings.warn(f"{self.run} has not come as far as its result again, which stays as it is", RunWarning, 2)
        return {**RunDirectory.open(self.run.path).result(), "interrupted": True}

    def _finish(self, interrupted: bool) -> Summary:
        """Test the best model and write the result."""
        assert self.best_weights is not None
        self.model.load_state_dict(from_bytes(self.best_weights)[0])
        self.model.eval()
        evaluator = self._evaluator("test")
        test = evaluator.run(self.model, self.device)
        summary = summarised(self, evaluator, test, interrupted)
        self.writer.finish(self.best_weights, test, summary)
        return summary

    # -- snapshots -------------------------------------------------------------------------------------

    def _snapshot_if_due(self) -> None:
        if time.monotonic() >= self.next_snapshot:
            self._snapshot()

    def _snapshot(self) -> None:
        begun = time.monotonic()
        self.writer.snapshot(self.steps_done, state_of(self), self.best_weights)
        now = time.monotonic()
        self.next_snapshot = now + max(_SECONDS_BETWEEN, (now - begun) / _SNAPSHOT_SHARE)

    def start_from(self, run: RunDirectory) -> None:
        """Begin with the best weights of another run; InputError where it has none, RunError where they do not fit."""
        weights = run.weights()
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"the weights of {run} do not fit its configuration") from error

    def restore(self, run: RunDirectory) -> Snapshot:
        """Put the newest snapshot of a run that is whole back, or the oldest with that best model if the run diverged.

        Returns which one it was.

        Raises:
            InputError: the run is of other data.
            RunError: no snapshot is whole.
        """
        self.check_data(run)
        whole = run.snapshots()
        found = next(whole, None)
        if found is None:
            raise RunError(f"{run} cannot be resumed: no snapshot of it is whole")
        # the step that made a run diverge may lie before its newest snapshot, but no better model may be lost
        older = next(whole, None) if run.manifest.diverged else None
        if older is not None and older[0].weights == found[0].weights:
            found = older
        snapshot, state, self.best_weights = found
        restore_state(self, state)
        return snapshot

    def check_data(self, run: RunDirectory) -> None:
        """Raise InputError where the data are not those that a run was started with."""
        own, known = self.vocabulary, run.vocabulary()
        ids_are_known = (own.items, own.users, own.untrained) == (known.items, known.users, known.untrained)
        if own.features != known.features:
            raise InputError(f"the features of the items have changed since {run} was started")
        if run.manifest.data != self.split.checksum or not ids_are_known:
            raise InputError(
                f"{self.config.data.dataset} has changed since {run} was started (items, order, times or ids)"
            )
