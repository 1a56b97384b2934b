"""The training loop: epochs, validation, early stopping, interruption, snapshots.

Everything random follows from the seed: the order of users from (seed, epoch), negatives from their own
generator, dropout from torch's global one. A snapshot between steps holds both generators, so a
resumed run computes the same numbers as an uninterrupted one.
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

_FLUSH_EVERY = 16  # steps between readings of losses and norms, because each reading waits for the GPU
_SECONDS_BETWEEN = 4.0  # least time between snapshots, and most between readings of losses
_SNAPSHOT_SHARE = 0.012  # largest share of the time spent on snapshots


class Trainer:
    """One training, from its configuration to its summary.

    Args:
        config: all options.
        run: the run directory that it writes to.
        data: the interactions that ``config.data.dataset`` names.
        observer: called at steps and evaluations.
        vocabulary: that of the run to start from; items that are not in it are left out.
        sources: the sources to build the model from; by default those that ``config.model`` names now.
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
        # seed again, so that dropout does not depend on how many numbers a variant's initialisation drew
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
        self.last_step = -1  # stop after this step; -1: train to the end
        self.next_snapshot = time.monotonic() + _SECONDS_BETWEEN

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of the data in the model's order, and the items that it was not trained on."""
        items = self.data.item_ids
        untrained = tuple(item for item, known in zip(items, self.trained[1:].tolist(), strict=True) if not known)
        users = self.data.user_ids if self.model.knows_users else ()
        return Vocabulary(items, users, untrained, self.data.item_titles or (), self.model.kept_features())

    # -- the run ---------------------------------------------------------------------------------------

    def fit(self, writer: RunWriter) -> Summary:
        """Train, write the run, and return the summary.

        The first Ctrl-C (or another signal of `interrupts`) ends the training after the step in progress; then a
        snapshot is taken and the best model is tested. A second Ctrl-C stops at once, and the last snapshot remains.

        Raises:
            NotFinite: a loss or a gradient is not finite; the step is kept for `attnrec.training.run.replay`.
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
            if writer.manifest.snapshots[0].log_bytes < writer.log.end:  # steps or evaluations since the last snapshot
                self._snapshot()  # save them before anything is tested or shown
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
        """Continue training until ``step`` steps in total, or until Ctrl-C; raises as `fit`."""
        self.last_step = step
        self._train_epochs()

    def _stopping(self) -> bool:
        return self.interrupt.requested or self.steps_done == self.last_step

    def _finished(self) -> bool:
        return self.progress.epoch > self.config.training.epochs or self.out_of_patience() or not self.learns

    def out_of_patience(self) -> bool:
        return 0 < self.config.evaluation.patience <= self.progress.waited

    def _train_epoch(self) -> bool:
        """Do the remaining steps of the current epoch; False if stopped before its end."""
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
                self._snapshot()  # now: whoever sent the signal may not wait for a validation
            if stopping and not last:
                return False
            if not last:  # after the last step, wait, so that the snapshot includes a validation
                self._snapshot_if_due()
            mark = time.perf_counter()
        if first == 0:
            progress.seconds_per_epoch.append(seconds)
        return True

    def step(self, batch: SequenceBatch) -> tuple[Tensor, bool]:
        """One optimiser step; returns loss and gradient norm, [2], and whether it was skipped as not finite."""
        values = self.backward(batch)
        # reading the values of every step waits for the GPU, so do it only if steps may be skipped
        skipped = self.progress.skipped < self.config.training.skip_nonfinite and not bool(values.isfinite().all())
        if skipped:
            self.progress.skipped += 1
        else:
            self.optimizer.step()
        return values, skipped

    def backward(self, batch: SequenceBatch) -> Tensor:
        """Compute the clipped gradients of a batch; returns the loss and the gradient norm before clipping, [2]."""
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
        """Log the losses and norms since the last reading; raises NotFinite if one is not finite."""
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
        self.writer.log.flush()  # for other programs that read the log during the training

    @property
    def steps_done(self) -> int:
        """Optimiser steps since the beginning of the training."""
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
        """The existing result of a run that was resumed from before that result and interrupted before reaching it."""
        warnings.warn(f"{self.run} was interrupted before the step of its earlier result, which is kept", RunWarning, 2)
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
        """Start from the best weights of another run; InputError if it has none, RunError if they do not fit."""
        weights = run.weights()
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"the weights of {run} do not fit its configuration") from error

    def restore(self, run: RunDirectory) -> Snapshot:
        """Restore the newest whole snapshot; if the run diverged, rather the one before, if it has the same best model.

        Returns the restored snapshot.

        Raises:
            InputError: the run was trained on other data.
            RunError: no snapshot is whole.
        """
        self.check_data(run)
        whole = run.snapshots()
        found = next(whole, None)
        if found is None:
            raise RunError(f"{run} cannot be resumed: all of its snapshots are damaged")
        # the step that made a run diverge may be before its newest snapshot; go back, unless a better model is lost
        older = next(whole, None) if run.manifest.diverged else None
        if older is not None and older[0].weights == found[0].weights:
            found = older
        snapshot, state, self.best_weights = found
        restore_state(self, state)
        if self.progress.best_epoch and self.best_weights is None:
            raise RunError(f"the manifest of {run} is damaged: it names no weights of a run that has been validated")
        return snapshot

    def check_data(self, run: RunDirectory) -> None:
        """Raise InputError if the data are not those that the run was started with."""
        own, known = self.vocabulary, run.vocabulary()
        ids_are_known = (own.items, own.users, own.untrained) == (known.items, known.users, known.untrained)
        if own.features != known.features:
            raise InputError(f"the features of the items have changed since {run} was started")
        if run.manifest.data != self.split.checksum or not ids_are_known:
            raise InputError(
                f"{self.config.data.dataset} has changed since {run} was started (items, order, times or ids)"
            )
