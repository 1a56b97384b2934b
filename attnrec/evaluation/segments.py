"""For whom a model is right: metrics by segment of the users, ties, and the items in top-N lists.

All of this is for full ranking. Users are divided by properties of their history and of their held-out item. Each user
is in exactly one segment of a division, and empty segments are left out, so the mean of a metric over segments,
weighted by their users, is the metric over all users.

The popularity of an item is its number of interactions in the training part, which a model could learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnrec.data.batches import ragged_arange
from attnrec.data.splits import Split
from attnrec.evaluation.metrics import DEFAULT_CUTOFFS, Ranks, per_user_metrics
from attnrec.evaluation.ranking import Evaluator, Scorer
from attnrec.evaluation.targets import EvaluationReport, report, training_popularity

_EDGES = (1, 5, 10, 20, 50, 100, 200, 500, 1000)  # lower ends of the segments by length or popularity
_TIME_SEGMENTS = 5

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """Users of one kind.

    Attributes:
        label: what they have in common.
        low, high: smallest and largest value of the dividing property among them.
        users: number of users.
        share: their share of all evaluated users.
        metrics: means of ``NDCG@N`` and ``Hit@N`` over these users.
    """

    label: str
    low: float
    high: float
    users: int
    share: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class Ties:
    """How often other candidates have exactly the score of the true item; metrics are then expected values.

    Attributes:
        users: number of users whose true item is tied.
        share: their share of all evaluated users.
        mean_size: mean number of candidates tied with the true item, over these users; 0 if there are none.
        rule: how metrics treat ties.
    """

    users: int
    share: float
    mean_size: float
    rule: str = "expected value over random order"


@dataclass(frozen=True)
class TopLists:
    """The items in all users' top-N lists, without the items of their histories.

    If items tie at the end of a list, it is arbitrary which of them are in it.

    Attributes:
        cutoff: N.
        coverage: share of the catalogue that is in at least one user's list.
        mean_popularity: mean popularity of the items, over all entries of all lists.
    """

    cutoff: int
    coverage: float
    mean_popularity: float


@dataclass(frozen=True)
class SegmentReport:
    """An evaluation by segment; see the top of this file.

    Attributes:
        metrics: metrics over all users, as `Recommender.evaluate` returns them; a `NewerReport` for newer data.
        by_history_length: by the number of items before the held-out one, even if the model sees fewer.
        by_target_popularity: by the interactions of the held-out item in the training part.
        by_time_since_last: by the time from the last known interaction to the held-out one, in the data's unit, in
            segments of about equal numbers of users; empty for data without timestamps.
        by_target_in_training: by whether the held-out item is in the training part at all (1) or not (0).
        ties: ties of the true item with others.
        top_lists: one for each cut-off.
        target_popularity: mean popularity of the held-out items.
        catalogue_popularity: mean popularity of all items.
    """

    metrics: EvaluationReport
    by_history_length: tuple[Segment, ...]
    by_target_popularity: tuple[Segment, ...]
    by_time_since_last: tuple[Segment, ...]
    by_target_in_training: tuple[Segment, ...]
    ties: Ties
    top_lists: tuple[TopLists, ...]
    target_popularity: float
    catalogue_popularity: float


def segment_report(
    evaluator: Evaluator,
    model: Scorer,
    cutoffs: Sequence[int] = DEFAULT_CUTOFFS,
    device: torch.device | None = None,
    trained: npt.NDArray[np.bool_] | None = None,
) -> SegmentReport:
    """Evaluate a model (in eval mode) by segment; raises RunError as `Evaluator.run` does.

    ``trained``: which items the model was trained on, [num_items + 1]; by default those of the training part.
    """
    split, part = evaluator.split, evaluator.part
    result = evaluator.run(model, device)
    values = _per_user(result.full, cutoffs)
    popularity = training_popularity(split)
    if trained is None:
        trained = popularity > 0
    of_targets = popularity[evaluator.targets.numpy()]
    times = time_since_last(split, part)
    return SegmentReport(
        metrics=report(evaluator, result, cutoffs, trained),
        by_history_length=_by_edges(split.history_lengths(part), values),
        by_target_popularity=_by_edges(of_targets, values),
        by_time_since_last=() if times is None else _by_quantiles(times, values),
        by_target_in_training=_by_presence(trained[evaluator.targets.numpy()], values),
        ties=_ties(result.full),
        top_lists=top_lists(evaluator, model, popularity, cutoffs, device),
        target_popularity=float(of_targets.mean()),
        catalogue_popularity=float(popularity[1:].mean()),
    )


def time_since_last(split: Split, part: str) -> _Floats | None:
    """Time from the last known interaction to the held-out one, in the data's unit, [M]; None without timestamps."""
    times = split.data.timestamps
    if times is None:
        return None
    rows = split.data.offsets[split.users(part)] + split.history_lengths(part)
    return times[rows] - times[rows - 1]


@torch.inference_mode()
def top_lists(
    evaluator: Evaluator,
    model: Scorer,
    popularity: _Ints,
    cutoffs: Sequence[int],
    device: torch.device | None = None,
) -> tuple[TopLists, ...]:
    """The items in the users' top-N lists, for each N of ``cutoffs``.

    A list leaves out every item of the history. It is shorter than N if fewer items are left.
    """
    data, users = evaluator.split.data, evaluator.split.users(evaluator.part)
    lengths = evaluator.split.history_lengths(evaluator.part)
    # the number of lists that each item is in, for each cut-off
    counts = np.zeros((len(cutoffs), data.num_items + 1), dtype=np.int64)
    for places, scores in evaluator.scores(model, device):
        where = places.numpy()
        seen = data.items[ragged_arange(data.offsets[users[where]], lengths[where])].astype(np.int64)
        rows = torch.from_numpy(np.repeat(np.arange(len(where)), lengths[where])).to(scores.device)
        scores[rows, torch.from_numpy(seen - 1).to(scores.device)] = -torch.inf
        best, items = (found.cpu() for found in scores.topk(max(cutoffs)))
        listed = torch.where(best > -torch.inf, items + 1, 0).numpy()
        for count, cutoff in zip(counts, cutoffs, strict=True):
            count += np.bincount(listed[:, :cutoff].ravel(), minlength=len(count))
    counts = counts[:, 1:]
    return tuple(
        TopLists(cutoff, float((count > 0).mean()), float(count @ popularity[1:] / max(1, count.sum())))
        for cutoff, count in zip(cutoffs, counts, strict=True)
    )


def _per_user(ranks: Ranks, cutoffs: Sequence[int]) -> dict[str, Tensor]:
    return {name: value for name, value in per_user_metrics(ranks, cutoffs).items() if "@" in name}


def _ties(ranks: Ranks) -> Ties:
    tied = ranks.tied[ranks.tied > 0].double()
    return Ties(len(tied), len(tied) / len(ranks.tied), float(tied.mean()) if len(tied) else 0.0)


def _by_edges(values: _Ints, metrics: dict[str, Tensor]) -> tuple[Segment, ...]:
    """Segments that begin at 0 and at each of `_EDGES`."""
    labels = [_range(low, end - 1) for low, end in pairwise((0, *_EDGES))]
    return _segments(np.digitize(values, _EDGES), [*labels, f"{_EDGES[-1]:,} or more"], values, metrics)


def _by_quantiles(values: _Floats, metrics: dict[str, Tensor]) -> tuple[Segment, ...]:
    """Segments of about equal numbers of users; equal values are in the same segment."""
    fractions = np.arange(1, _TIME_SEGMENTS) / _TIME_SEGMENTS
    # use observed values as edges: rounding of an interpolated edge could move a user
    edges = np.unique(np.quantile(values, fractions, method="inverted_cdf"))
    numbers = np.searchsorted(edges, values)
    parts = [values[numbers == number] for number in range(numbers.max() + 1)]
    return _segments(numbers, [_range(part.min(), part.max()) for part in parts], values, metrics)


def _by_presence(trained: npt.NDArray[np.bool_], metrics: dict[str, Tensor]) -> tuple[Segment, ...]:
    present = trained.astype(np.int64)
    return _segments(present, ["never in training", "in training"], present, metrics)


def _segments(
    numbers: _Ints, labels: Sequence[str], values: _Ints | _Floats, metrics: dict[str, Tensor]
) -> tuple[Segment, ...]:
    """One segment for each number that occurs; ``values`` are the values of the dividing property."""
    found = []
    for number, label in enumerate(labels):
        inside = numbers == number
        users = int(inside.sum())
        if users:
            chosen = torch.from_numpy(inside)
            means = {name: float(value[chosen].mean()) for name, value in metrics.items()}
            low, high = float(values[inside].min()), float(values[inside].max())
            found.append(Segment(label, low, high, users, users / len(values), means))
    return tuple(found)


def _range(low: float, high: float) -> str:
    shown = [f"{value:,.0f}" if value == round(value) else f"{value:,.4g}" for value in (low, high)]
    return shown[0] if low == high else " to ".join(shown)
