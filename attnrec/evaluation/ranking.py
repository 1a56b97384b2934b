"""The rank of every user's held-out item, among all items and among sampled ones, in one pass.

Full ranking: the candidates are all items the user has not interacted with so far, and the true item.
Sampled: the true item against 100 items drawn uniformly from those the user never interacted with (Kang &
McAuley, ICDM 2018, section IV.C). They are drawn once per seed, so that all models rank the same ones.
Scores are computed for a chunk of users at a time, so memory is chunk x items, not users x items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from attnrec.core.errors import RunError
from attnrec.data.batches import SequenceBatch, evaluation_batches, ragged_arange
from attnrec.data.negatives import UnseenItems
from attnrec.data.splits import Split
from attnrec.evaluation.metrics import Ranks, mean_metrics
from attnrec.models.base import with_one

NUM_SAMPLED = 100
_CHUNK_ELEMENTS = 1 << 21  # scores in memory at once; stays near the processor's cache


class Scorer(Protocol):
    """What evaluation needs of a model."""

    def last_output(self, batch: SequenceBatch) -> Tensor:
        """Output at the last item of each history, [B, d]."""
        ...

    @property
    def item_vectors(self) -> Tensor:
        """[num_items + 1, d]; row 0 is padding and is never ranked."""
        ...

    @property
    def item_bias(self) -> Tensor | None:
        """The bias added to each item's score, [num_items + 1], or None."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Ranks of the held-out items, in the order of ``Split.users``."""

    full: Ranks
    sampled: Ranks

    def of(self, chosen: Tensor) -> Evaluation:
        """The ranks of some of the users; ``chosen`` is a mask [M]."""
        return Evaluation(self.full.of(chosen), self.sampled.of(chosen))

    def means(self, cutoffs: Sequence[int]) -> dict[str, dict[str, float]]:
        """`mean_metrics` of both protocols, under ``full`` and ``sampled``."""
        return {"full": mean_metrics(self.full, cutoffs), "sampled": mean_metrics(self.sampled, cutoffs)}


class Evaluator:
    """Evaluates models on one part of a split, always against the same candidates.

    Args:
        split: the split.
        part: ``valid`` or ``test``.
        max_len: number of history items that the model sees.
        seed: seed of the sampled candidates.
        batch_size: histories per forward pass.
    """

    def __init__(self, split: Split, part: str, max_len: int, seed: int = 0, batch_size: int = 512) -> None:
        self.split, self.part, self.max_len, self.batch_size = split, part, max_len, batch_size
        data, users = split.data, split.users(part)
        unseen = UnseenItems(data.items, data.lengths, data.num_items)
        generator = torch.Generator().manual_seed(seed * 2 + (part == "test"))
        drawn = unseen.draw_distinct(torch.from_numpy(users), NUM_SAMPLED, generator)
        self.candidates = drawn.to(torch.int32)
        self.targets = torch.from_numpy(split.targets(part).astype(np.int64))
        self._collect_seen()

    def _collect_seen(self) -> None:
        """Collect each user's distinct seen items, without the true item (it stays a candidate even if seen before)."""
        data, users = self.split.data, self.split.users(self.part)
        lengths = self.split.history_lengths(self.part)
        rows = ragged_arange(data.offsets[users], lengths)
        stride = data.num_items + 1
        places = np.repeat(np.arange(len(users)), lengths)
        own = np.arange(len(users)) * stride + self.targets.numpy()
        place, item = np.divmod(np.setdiff1d(places * stride + data.items[rows], own), stride)
        self.seen_items = item
        self.seen_lengths = np.bincount(place, minlength=len(users))
        self.seen_starts = np.cumsum(self.seen_lengths) - self.seen_lengths

    @torch.inference_mode()
    def run(self, model: Scorer, device: torch.device | None = None) -> Evaluation:
        """Rank every user's true item. Put the model in eval mode first.

        Raises RunError if an output, an item vector or a score is not finite.
        """
        counts = torch.zeros(4, len(self.targets), dtype=torch.int64)
        marks = torch.empty(0)
        for places, scores in self.scores(model, device):
            if len(marks) < len(scores):
                marks = torch.empty_like(scores)
            counts[:, places] = self._count(scores, marks[: len(scores)], places).cpu()
        full_above, full_tied, sampled_above, sampled_tied = counts
        return Evaluation(Ranks(full_above, full_tied), Ranks(sampled_above, sampled_tied))

    def scores(self, model: Scorer, device: torch.device | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores of all items, for a few users at a time; call it in inference mode.

        Yields:
            the positions of b users in ``Split.users``, int64 [b], and the scores of items 1, 2, ..., [b, num_items],
            seen items included. You may change the scores in place; the next ones overwrite them.

        Raises RunError if an output, an item vector or a score is not finite.
        """
        bias = model.item_bias
        columns = model.item_vectors if bias is None else torch.cat([model.item_vectors, bias[:, None]], 1)
        vectors = columns[1:].T.contiguous()
        dim, num_items = vectors.shape
        largest = _largest(vectors, "item vectors")
        chunk = max(1, _CHUNK_ELEMENTS // num_items)
        buffer = vectors.new_empty(chunk, num_items)
        for places, outputs in self._outputs(model, device or torch.device("cpu")):
            if bias is not None:
                outputs = with_one(outputs)
            # no partial sum of a score exceeds this bound, so for most models the scores need no check
            bound = dim * largest * _largest(outputs, "outputs")
            for part, where in zip(outputs.split(chunk), places.split(chunk), strict=True):
                scores = torch.mm(part, vectors, out=buffer[: len(part)])
                if bound >= torch.finfo(scores.dtype).max / 2 and not torch.isfinite(scores).all():
                    raise _not_finite("scores")
                yield where, scores

    def _outputs(self, model: Scorer, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        for places, batch in evaluation_batches(self.split, self.part, self.max_len, self.batch_size):
            yield torch.from_numpy(places), model.last_output(batch.to(device))

    def _count(self, scores: Tensor, marks: Tensor, places: Tensor) -> Tensor:
        """Candidates above and tied with the true item, full and sampled, int64 [4, b].

        ``scores`` [b, num_items] are those of items 1, 2, ...; ``marks`` is a buffer of the same shape (summing a
        comparison is an order of magnitude faster if it is written as numbers instead of booleans).
        """
        device = scores.device
        true = scores.gather(1, self.targets[places].to(device)[:, None] - 1)
        above = torch.gt(scores, true, out=marks).sum(1).long()
        tied = torch.eq(scores, true, out=marks).sum(1).long() - 1

        where = places.numpy()
        lengths = self.seen_lengths[where]
        items = torch.from_numpy(self.seen_items[ragged_arange(self.seen_starts[where], lengths)]).to(device)
        rows = torch.from_numpy(np.repeat(np.arange(len(where)), lengths)).to(device)
        seen_scores, their_true = scores[rows, items - 1], true[rows, 0]
        above -= torch.bincount(rows[seen_scores > their_true], minlength=len(where))
        tied -= torch.bincount(rows[seen_scores == their_true], minlength=len(where))

        candidates = self.candidates[places].to(device).long()
        drawn = scores.gather(1, (candidates - 1).clamp(min=0))
        real = candidates > 0
        return torch.stack([above, tied, ((drawn > true) & real).sum(1), ((drawn == true) & real).sum(1)])


def _largest(values: Tensor, what: str) -> float:
    """The largest magnitude among ``values``; RunError unless all are finite."""
    found = float(values.abs().max())
    if not math.isfinite(found):
        raise _not_finite(what)
    return found


def _not_finite(what: str) -> RunError:
    return RunError(f"the model's {what} are not finite, so nothing can be ranked")
