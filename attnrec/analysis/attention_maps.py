"""Average attention of a trained model, by slot and between categories of items.

By slot: the mean weight from one slot to another, over the users whose history reaches the first one. Slots count
back from the last item, so 1 is the most recent.

Between categories: the weight that items of category a give to items of category b (at their own position and
earlier), divided by what even attention would give to the same pairs: 1 is the same as by chance, 2 is twice that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnrec.core.errors import InputError
from attnrec.data.batches import SequenceBatch, evaluation_batches
from attnrec.recommender import Recommender

_CELLS_AT_ONCE = 1 << 22
_MAX_CATEGORIES = 20
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttentionMaps:
    """Average weights of one block.

    Attributes:
        block: number of the block, from 1.
        matrices: by name of the weights, [H, S, S] from a slot (row) to a slot (column), the most recent slot last, or
            [H, C, C] from a category to a category.
    """

    block: int
    matrices: dict[str, Matrix]


def slot_maps(model: Recommender, *, users: int = 1000, slots: int = 30) -> list[AttentionMaps]:
    """Average attention by slot over the test histories of up to ``users`` users, for the last ``slots`` slots.

    There are fewer slots if no history is that long.

    Raises InputError if an operator has no weights, or the data is not the run's.
    """
    slots = min(slots, model.config.model.max_len)
    totals: dict[tuple[int, str], Tensor] = {}
    reached = torch.zeros(slots, dtype=torch.float64)
    for batch, blocks in _weights(model, users):
        real = torch.from_numpy(batch.lengths)[:, None] > torch.arange(slots - 1, -1, -1)
        reached += real.sum(0)
        for number, weights in enumerate(blocks, 1):
            for name, matrix in weights.items():
                last = matrix[..., -slots:, -slots:].double().sum(0)
                width = last.shape[-1]
                total = totals.setdefault((number, name), last.new_zeros(len(last), slots, slots))
                total[:, slots - width :, slots - width :] += last
    first = int((reached == 0).sum())  # leave out slots that no history reaches
    means = {key: (total / reached.clamp(min=1)[:, None])[:, first:, first:].numpy() for key, total in totals.items()}
    return _by_block(means)


def category_maps(
    model: Recommender, item_categories: Sequence[tuple[str, ...]], *, users: int = 1000
) -> tuple[list[AttentionMaps], list[str]]:
    """Average attention between the most frequent categories, relative to even attention, and their names.

    Args:
        model: a trained run.
        item_categories: the categories of every item; an item may have none or several.
        users: the most users to average over.

    Raises InputError like `slot_maps`.
    """
    counts = Counter(category for categories in item_categories for category in categories)
    names = sorted(counts, key=lambda name: (-counts[name], name))[:_MAX_CATEGORIES]
    numbers = {name: place for place, name in enumerate(names)}
    membership = torch.zeros(len(item_categories) + 1, len(names))
    for item, categories in enumerate(item_categories, 1):
        for category in categories:
            if category in numbers:
                membership[item, numbers[category]] = 1
    totals: dict[tuple[int, str], Tensor] = {}
    even_total = torch.zeros(len(names), len(names), dtype=torch.float64)
    for batch, blocks in _weights(model, users):
        width = int(batch.lengths.max())
        of_slot = membership[_padded_items(batch, width)]
        real = torch.from_numpy(batch.lengths)[:, None] > torch.arange(width - 1, -1, -1)
        allowed = (real[:, :, None] & real[:, None, :]).tril()
        even = allowed / allowed.sum(-1, keepdim=True).clamp(min=1)
        even_total += torch.einsum("bic,bij,bjd->cd", of_slot, even, of_slot).double()
        for number, weights in enumerate(blocks, 1):
            for name, matrix in weights.items():
                found = torch.einsum("bic,bhij,bjd->hcd", of_slot, matrix, of_slot).double()
                totals[number, name] = totals.get((number, name), 0) + found
    ratios = {key: (total / even_total.clamp(min=1e-12)).numpy() for key, total in totals.items()}
    return _by_block(ratios), names


def _weights(model: Recommender, users: int) -> Iterator[tuple[SequenceBatch, list[dict[str, Tensor]]]]:
    """Batches of test histories and every block's weights on them."""
    split = model.split()
    chosen = np.random.default_rng(0).permutation(len(split.users("test")))[:users]
    few = replace(split, parts={"test": split.parts["test"].keeping(np.sort(chosen))})
    size = max(1, _CELLS_AT_ONCE // model.config.model.max_len**2)
    for _, batch in evaluation_batches(few, "test", model.config.model.max_len, size):
        with torch.inference_mode():
            try:
                blocks = model.model.attention_weights(batch.to(model.device))
            except NotImplementedError as error:
                raise InputError(f"`attention_map`: {error}") from error
        if not blocks:
            raise InputError(f"{model.run} has no attention block")
        _require_matrices(model, blocks, len(batch.lengths), int(batch.lengths.max()))
        yield batch, [{name: matrix.cpu() for name, matrix in block.items()} for block in blocks]


def _require_matrices(model: Recommender, blocks: list[dict[str, Tensor]], count: int, width: int) -> None:
    """InputError if a user's model or operator does not return [B, H, T, T]."""
    for block in blocks:
        for name, matrix in block.items():
            if matrix.ndim != 4 or (len(matrix), *matrix.shape[2:]) != (count, width, width):
                what = f"{name} is {list(matrix.shape)}, not [{count}, H, {width}, {width}]"
                raise InputError(f"the attention weights of {model.run} cannot be drawn: {what}; see `attnrec check`")


def _padded_items(batch: SequenceBatch, width: int) -> Tensor:
    """Items of a batch at the right end of ``width`` slots, 0 at padding, int64 [B, width]."""
    padded = torch.zeros(len(batch.lengths), width, dtype=torch.int64)
    padded[torch.from_numpy(batch.lengths)[:, None] > torch.arange(width - 1, -1, -1)] = batch.items
    return padded


def _by_block(matrices: dict[tuple[int, str], Matrix]) -> list[AttentionMaps]:
    blocks = sorted({number for number, _ in matrices})
    return [AttentionMaps(b, {name: m for (number, name), m in matrices.items() if number == b}) for b in blocks]
