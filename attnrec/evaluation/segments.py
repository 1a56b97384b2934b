"""For whom a model is right: metrics by segment of the users, ties, and what the top-N lists are made of.

Everything is in full ranking. Users are divided by what is known of them and of their held-out item; each user is
in exactly one segment of a division, and segments without users are left out, so that the mean of a metric over
the segments, weighted with their users, is the metric over all users.

Popularity is the number of interactions of an item in the training part: what a model could learn from.
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

_EDGES = (1, 5, 10, 20, 50, 100, 200, 500, 1000)  # where a segment of lengths or of popularity begins
_TIME_SEGMENTS = 5

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """Users of one kind.

    Attributes:
        label: what they have in common.
        low, high: least and greatest value among them of what the users are divided by.
        users: how many.
        share: of all evaluated users.
        metrics: ``NDCG@N`` and ``Hit@N``, their means over these users.
    """

    label: str
    low: float
    high: float
    users: int
    share: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class Ties:
    """How often other candidates have the very score of the true item; the metrics are then an expected value.

    Attributes:
        users: whose true item is tied.
        share: of all evaluated users.
        mean_size: candidates tied with the true item, a mean over these users; 0 where there are none.
        rule: how a metric treats them.
    """

    users: int
    share: float
    mean_size: float
    rule: str = "expected value over random order"


@dataclass(frozen=True)
class TopLists:
    """What all users' lists of N items are made of, items of the history left out.

    Where items tie at the end of a list, which of them is in it is arbitrary.

    Attributes:
        cutoff: N.
        coverage: share of the catalogue that is in some user's list.
        mean_popularity: of the items in the lists, a mean over all their places.
    """

    cutoff: int
    coverage: float
    mean_popularity: float


@dataclass(frozen=True)
class SegmentReport:
    """An evaluation by segment; see the head of this file.

    Attributes:
        metrics: over all users, ``full``, ``sampled`` and what is said of the targets, as `Recommender.evaluate` gives
            them; of newer data a `NewerReport`.
        by_history_length: items before the held-out one, all of them, also where the model sees fewer.
        by_target_popularity: interactions of the held-out item in the training part.
        by_time_since_last: from the last known interaction to the held-out one, in the data's unit, in parts of
            about as many users; empty for data without timestamps.
        by_target_in_training: whether the held-out item is in the training part at all (1) or not (0).
        ties: of the true item with others.
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

    ``trained``: which items the model was trained on, [num_items + 1]; those of the training part without it.
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
    """From the last known interaction to the held-out one, in the data's unit, [M]; None without timestamps."""
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
    """What the users' lists of N items are made of, for each N of ``cutoffs``.

    A list leaves out every item of the history. It is shorter than N where fewer items are left.
    """
    data, users = evaluator.split.data, evaluator.split.users(evaluator.part)
    lengths = evaluator.split.history_lengths(evaluator.part)
    # in how many lists an item is, for each cut-off
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
    """Segments of about as many users; equal values are in one segment."""
    fractions = np.arange(1, _TIME_SEGMENTS) / _TIME_SEGMENTS
    # edges are values that occur, so that no rounding of an interpolated one can move a user
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
    """One segment for each number that occurs; ``values`` is what the users are divided by."""
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
