r"""Does order matter in a data set? Shuffle the histories and see how much of a model's score is lost.

One SASRec is trained on the data as they are, and another with the same options and seed on the data with each
training history in random order. The test items stay the same. Three conditions are evaluated, in full ranking:

| condition | trained on | history before the test item |
|---|---|---|
| in order | histories in order | in order |
| shuffled at evaluation | histories in order | shuffled |
| shuffled throughout | shuffled histories | shuffled |

In the second and third, the order is unknown to the model. So at most the smaller of the two losses is due to order,
and perhaps less: a model made for unordered histories may do better. A model trained in order can lose more than order
is worth, because it relies on it. One trained on shuffled histories learns more slowly, so a short training
underestimates it.

The whole history is shuffled, even if it is longer than the model sees, so the model no longer knows which items are
the latest. If little is lost, the data can show little about how a model treats order (Klenitskiy et al., "Does It Look
Sequential? An Analysis of Datasets for Evaluation of Sequential Recommendations", RecSys 2024, shuffle the users'
sequences at evaluation).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnrec.core import html
from attnrec.core.errors import InputError
from attnrec.data.batches import SequenceBatch, ragged_arange
from attnrec.data.interactions import Interactions
from attnrec.evaluation.metrics import per_user_metrics
from attnrec.evaluation.ranking import Evaluator, Scorer
from attnrec.evaluation.significance import Difference, paired_difference
from attnrec.evaluation.targets import training_popularity
from attnrec.training.config import TrainConfig
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run import fit_new
from attnrec.training.run_directory import RunDirectory
from attnrec.training.setup import split_of

IN_ORDER, AT_EVALUATION, THROUGHOUT = "in_order", "shuffled_at_evaluation", "shuffled_throughout"
POPULARITY = "popularity"
_MOST, _LITTLE = 0.5, 0.1  # shares of the score lost, the limits between the verdicts below

_QUICK: dict[str, Any] = {"loss": "ce", "lr": 2e-3, "dim": 64, "eval_every": 1, "patience": 5}
_STEPS, _EPOCHS = 1000, (5, 100)

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """How much of a metric is lost by shuffling.

    Attributes:
        condition: the shuffled condition.
        metric: its name.
        absolute: score in order minus score when shuffled.
        relative: the same as a share of the score in order; its interval is that of a ratio of means, linearised
            (Cochran, "Sampling Techniques", 1977, chapter 6). None if the score in order is 0.
    """

    condition: str
    metric: str
    absolute: Difference
    relative: Difference | None


@dataclass(frozen=True)
class ShuffleTest:
    """The result of `shuffle_test`, on the test items, in full ranking.

    Attributes:
        dataset: name of the data set.
        users: number of evaluated users.
        seeds: seeds of the trainings and of the shuffling.
        best_epochs: the epochs chosen on validation, for the models trained in order and shuffled, one per seed.
        options: the options of all trainings, fields of `TrainConfig`.
        scores: mean over users and seeds of each metric, for each condition and for ranking by training popularity.
        losses: losses of the two shuffled conditions, in every metric.
        verdict: the meaning in words, based on the smaller of the two losses.
        cautions: reasons not to take the figures at face value.
    """

    dataset: str
    users: int
    seeds: tuple[int, ...]
    best_epochs: dict[str, tuple[int, ...]]
    options: dict[str, Any]
    scores: dict[str, dict[str, float]]
    losses: tuple[Loss, ...]
    verdict: str
    cautions: tuple[str, ...]

    def _repr_html_(self) -> str:
        metrics = tuple(next(iter(self.scores.values())))
        rows = [(name.replace("_", " "), *(f"{of[name]:.4f}" for name in metrics)) for name, of in self.scores.items()]
        lost = [
            (loss.condition.replace("_", " "), loss.metric, *(_interval(own) for own in (loss.absolute, loss.relative)))
            for loss in self.losses
        ]
        seeds = ", ".join(map(str, self.seeds))
        return (
            html.heading(f"Shuffle test of {self.dataset}: {self.users:,} users, seeds {seeds}")
            + html.paragraph(self.verdict)
            + html.table(("history", *metrics), rows)
            + html.table(("lost against in order", "metric", "score", "share"), lost, numbers_from=2)
            + html.items(self.cautions)
        )


def _interval(found: Difference | None) -> str:
    return "-" if found is None else f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]"


def quick_options(data: Interactions, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `TrainConfig` for a training that is long enough to see a loss, but not to report a score.

    ``given``: options of the user, which take precedence over these.
    """
    of_batches = {"batch_size", "split", "valid_from", "test_from"}
    config = TrainConfig.from_mapping({k: v for k, v in given.items() if k in of_batches}, "options")
    steps = -(-int((split_of(config, data).train_lengths >= 2).sum()) // config.training.batch_size)
    fewest, most = _EPOCHS
    epochs = min(most, max(fewest, -(-_STEPS // steps)))
    return _QUICK | {"epochs": epochs, "cutoffs": [min(10, data.num_items)]}


def shuffle_test(
    data: Interactions, config: TrainConfig, seeds: int = 1, observer: Observer | None = None
) -> ShuffleTest:
    """Train with and without order, compare, and leave no run directory behind.

    Args:
        data: the interactions.
        config: the options of every training; ``seed`` is the first seed, ``dataset`` and ``format`` are not used.
        seeds: how many seeds.
        observer: receives the progress of every training.

    Raises:
        InputError: the data or an option cannot be used.
        RunError: a training failed.
        KeyboardInterrupt: a training was interrupted.
    """
    if seeds < 1:
        raise InputError(f"`seeds` must be at least 1, not {seeds}")
    if config.training.start_from:
        raise InputError("a shuffle test trains from scratch, so `start_from` cannot be used")
    cutoff = min(10, data.num_items)
    numbers = tuple(range(config.training.seed, config.training.seed + seeds))
    runs = [_one_seed(data, config.changed(seed=seed), observer or Observer(), cutoff) for seed in numbers]
    metrics = (f"NDCG@{cutoff}", f"Hit@{cutoff}")
    tables = {
        condition: {name: np.stack([run.values[condition][name] for run in runs]) for name in metrics}
        for condition in runs[0].values
    }
    scores = {condition: {name: float(of[name].mean()) for name in metrics} for condition, of in tables.items()}
    losses = tuple(
        _loss(condition, name, tables[IN_ORDER][name], tables[condition][name])
        for condition in (AT_EVALUATION, THROUGHOUT)
        for name in metrics
    )
    options = {name: value for name, value in config.to_mapping().items() if name not in ("dataset", "format", "seed")}
    best_epochs = {model: tuple(run.best_epochs[model] for run in runs) for model in (IN_ORDER, THROUGHOUT)}
    return ShuffleTest(
        dataset=data.name,
        users=tables[IN_ORDER][metrics[0]].shape[1],
        seeds=numbers,
        best_epochs=best_epochs,
        options=options,
        scores=scores,
        losses=losses,
        verdict=_verdict(
            losses, paired_difference(tables[IN_ORDER][metrics[0]] - tables[POPULARITY][metrics[0]]), metrics[0]
        ),
        cautions=_cautions(best_epochs, config, seeds),
    )


def shuffled(data: Interactions, lengths: npt.NDArray[np.int64], seed: int) -> Interactions:
    """The data with the first ``lengths[u]`` items of each user u in random order; later items stay.

    Timestamps stay at their places in the history, so they do not reveal the order of the items.
    """
    rows = ragged_arange(data.offsets[:-1], lengths)
    users = np.repeat(np.arange(data.num_users), lengths)
    order = np.lexsort((np.random.default_rng((seed, 0x5F)).random(len(rows)), users))
    items = data.items.copy()
    items[rows] = items[rows[order]]
    return replace(data, items=items)


@dataclass(frozen=True, eq=False)
class _Run:
    """The result of one seed: metrics of every user by condition and name, float64 [M] each, and the chosen epochs."""

    values: dict[str, dict[str, _Floats]]
    best_epochs: dict[str, int]


def _one_seed(data: Interactions, config: TrainConfig, observer: Observer, cutoff: int) -> _Run:
    split = split_of(config, data)
    known = split.train_lengths.copy()
    known[split.users("test")] = split.history_lengths("test")  # including the items held out for validation
    asked = shuffled(data, known, config.training.seed)
    without = replace(shuffled(data, split.train_lengths, config.training.seed), name=f"{data.name}, shuffled")

    def metrics(scorer: Scorer, of: Interactions, device: torch.device | None = None) -> dict[str, _Floats]:
        ranks = Evaluator(split_of(config, of), "test", config.model.max_len).run(scorer, device).full
        return {name: value.numpy() for name, value in per_user_metrics(ranks, (cutoff,)).items()}

    ordered = _trained(data, config, observer)
    found = {IN_ORDER: metrics(ordered.model, data, ordered.device)}
    found[AT_EVALUATION] = metrics(ordered.model, asked, ordered.device)
    blind = _trained(without, config, observer)
    found[THROUGHOUT] = metrics(blind.model, asked, blind.device)
    found[POPULARITY] = metrics(_Popularity(torch.from_numpy(training_popularity(split))), data)
    return _Run(found, {IN_ORDER: ordered.progress.best_epoch, THROUGHOUT: blind.progress.best_epoch})


def _trained(data: Interactions, config: TrainConfig, observer: Observer) -> Trainer:
    """A finished training with the model chosen on validation, in eval mode; its run directory is removed."""
    with tempfile.TemporaryDirectory(prefix="attnrec-") as folder:
        trainer = Trainer(config, RunDirectory(folder), data, observer)
        if fit_new(trainer)["interrupted"]:
            raise KeyboardInterrupt
    trainer.model.eval()
    return trainer


class _Popularity:
    """Scores items by how often they occur in training."""

    item_bias = None

    def __init__(self, popularity: Tensor) -> None:
        self.item_vectors = popularity.double()[:, None]

    def last_output(self, batch: SequenceBatch) -> Tensor:
        return self.item_vectors.new_ones(len(batch.lengths), 1)


def _loss(condition: str, metric: str, ordered: _Floats, other: _Floats) -> Loss:
    """The loss, from the metric of each seed and user in order and when shuffled, [seeds, users] each."""
    lost = ordered - other
    whole = ordered.mean()
    if not whole:
        return Loss(condition, metric, paired_difference(lost), None)
    share = lost.mean() / whole
    return Loss(condition, metric, paired_difference(lost), paired_difference(share + (lost - share * ordered) / whole))


def _verdict(losses: Sequence[Loss], learned: Difference, metric: str) -> str:
    """What the smaller loss means: at most that much is due to order.

    ``learned``: score in order minus score of popularity; a model that is not better has nothing to lose.
    """
    loss = min((loss for loss in losses if loss.metric == metric), key=lambda loss: loss.absolute.mean)
    if learned.low <= 0 or loss.relative is None:
        return (
            "The model ranks no better than popularity, so this test says nothing about order. Train longer; if that "
            "does not help, histories do not predict what comes next in these data."
        )
    share = loss.relative.mean
    if not loss.absolute.leaves_out_zero or share < 0:
        return "No loss is shown: order tells this model nothing that the set of items does not."
    lost = f"{share:.0%} of the {metric} is lost without it"
    if share >= _MOST:
        return f"Order matters: {lost}."
    if share >= _LITTLE:
        return f"Order matters in part: {lost}; the rest comes from which items a history holds."
    return f"Order matters little: {lost}."


def _cautions(best_epochs: Mapping[str, Sequence[int]], config: TrainConfig, seeds: int) -> tuple[str, ...]:
    found = []
    if any(epoch == config.training.epochs for chosen in best_epochs.values() for epoch in chosen):
        found.append("The last epoch was the best for a model; more epochs may change the figures.")
    if seeds == 1:
        found.append("With one seed, the intervals are over users and apply only to these two trained models.")
    return tuple(found)
