"""Average attention of a trained model, by slot and between categories of items.

By slot: the mean weight from a slot to another over the users whose history reaches the first one. Slots count
back from the last item, so that 1 is the most recent.

Between categories: the weight that items of category a give to items of category b (their own position and
earlier ones), divided by what even attention would give to the same pairs: 1 is what chance gives, 2 twice that.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from attnrec.analysis.style import plain
from attnrec.data.batches import SequenceBatch, evaluation_batches
from attnrec.data.reading.items import read_categories
from attnrec.errors import InputError
from attnrec.recommender import Recommender

_CELLS_AT_ONCE = 1 << 22
_MAX_CATEGORIES = 20
_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttentionMaps:
    """Average weights of one block.

    Attributes:
        block: counted from 1.
        matrices: for each name of weights, [H, S, S]: from a slot (row) to a slot (column), the last slots last,
            or [H, C, C] from a category to a category.
    """

    block: int
    matrices: dict[str, _Matrix]


def attention_figures(
    model: Recommender, *, items: str | Path | None = None, category: str = "", slots: int = 30, users: int = 1000
) -> dict[str, Figure]:
    """Attention maps of a trained run: by slot, and where the items' categories are known, between these.

    Args:
        model: the run, as `attnrec.load` opens it.
        items: see `attnrec.data.reading.items.read_categories`; without it, the categories that the data brings.
        category: the column of ``items``.
        slots: how many of the most recent slots are shown.
        users: over how many users is averaged, at most.

    Raises:
        InputError: the data or the items file cannot be used, or its operator has no weights.
    """
    name = f"{Path(model.config.dataset).stem}, {model.config.attention}"
    figures = {}
    of_items: Sequence[tuple[str, ...]] | None
    if items is not None:
        of_items = read_categories(items, category, model.vocabulary.items)
    else:
        of_items = model.interactions().item_categories
    if of_items is not None:
        maps, names = category_maps(model, of_items, users=users)
        known = sum(map(bool, of_items))
        title = f"{name}: attention relative to even ({known:,} of {len(of_items):,} items have a category)"
        figures["attention-by-category"] = category_figure(maps, names, title)
    by_slot = slot_maps(model, users=users, slots=slots)
    return {"attention-by-slot": slot_figure(by_slot, f"{name}: average attention")} | figures


def slot_maps(model: Recommender, *, users: int = 1000, slots: int = 30) -> list[AttentionMaps]:
    """Average attention by slot over the test histories of up to ``users`` users, for the last ``slots`` slots.

    There are fewer where no history is so long.

    Raises InputError when an operator has no weights, or the data is not the run's.
    """
    slots = min(slots, model.config.max_len)
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
    first = int((reached == 0).sum())  # slots before the longest history's first item stay out
    means = {key: (total / reached.clamp(min=1)[:, None])[:, first:, first:].numpy() for key, total in totals.items()}
    return _by_block(means)


def category_maps(
    model: Recommender, item_categories: Sequence[tuple[str, ...]], *, users: int = 1000
) -> tuple[list[AttentionMaps], list[str]]:
    """Average attention between the most frequent categories, relative to even attention, and their names.

    Args:
        model: a trained run.
        item_categories: the categories of every item, none or several each.
        users: over how many users is averaged, at most.

    Raises InputError as `slot_maps`.
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


def slot_figure(maps: Sequence[AttentionMaps], title: str) -> Figure:
    """A heat map for each head of each block (rows, of one scale each) and each name of weights (columns).

    Where some weights are negative, white is 0.
    """
    slots = next(iter(maps[0].matrices.values())).shape[-1]
    ticks = sorted({0, slots // 2, slots - 1})
    labels = [str(slots - tick) for tick in ticks]

    def draw(figure: Figure, axes: Axes, matrix: _Matrix, beside: Sequence[_Matrix]) -> None:
        shown = np.ma.masked_where(np.triu(np.ones_like(matrix), 1) > 0, matrix)
        highest = max(float(other.max()) for other in beside)
        if min(float(other.min()) for other in beside) < 0:  # not every variant's weights are positive
            reach = max(float(np.abs(other).max()) for other in beside)
            image = axes.imshow(shown, cmap="RdBu_r", vmin=-reach, vmax=reach)
        else:
            image = axes.imshow(shown, cmap="viridis", vmin=0, vmax=highest)
        axes.set_xticks(ticks, labels)
        axes.set_yticks(ticks, labels)
        figure.colorbar(image, ax=axes, shrink=0.8)

    return _grid(maps, draw, title, "from (1: the last item)", "to", size=3.1)


def category_figure(maps: Sequence[AttentionMaps], names: Sequence[str], title: str) -> Figure:
    """A heat map for each head of each block (rows) and each name of weights (columns); white is 1, even attention."""

    def draw(figure: Figure, axes: Axes, matrix: _Matrix, beside: Sequence[_Matrix]) -> None:
        reach = max(math.log(1.25), *(float(np.quantile(np.abs(np.log(x.clip(1e-3))), 0.98)) for x in beside))
        image = axes.imshow(matrix.clip(1e-3), cmap="RdBu_r", norm=LogNorm(math.exp(-reach), math.exp(reach)))
        axes.set_xticks(range(len(names)), list(map(plain, names)), rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), list(map(plain, names)), fontsize=6)
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.minorticks_off()
        marks = [math.exp(-reach), math.exp(-reach / 2), 1.0, math.exp(reach / 2), math.exp(reach)]
        bar.set_ticks(marks, labels=[f"{mark:.2g}" for mark in marks], fontsize=7)

    return _grid(maps, draw, title, "from", "to", size=4.2)


def _grid(
    maps: Sequence[AttentionMaps],
    draw: Callable[[Figure, Axes, _Matrix, Sequence[_Matrix]], None],
    title: str,
    ylabel: str,
    xlabel: str,
    size: float,
) -> Figure:
    rows = [(block, head) for block in maps for head in range(len(next(iter(block.matrices.values()))))]
    columns = max(len(block.matrices) for block in maps)
    figure = Figure(figsize=(0.6 + 1.15 * size * columns, 0.5 + size * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for (block, head), line in zip(rows, panels, strict=True):
        for axes in line[len(block.matrices) :]:
            axes.set_visible(False)
        for axes, (name, matrices) in zip(line, block.matrices.items(), strict=False):
            draw(figure, axes, matrices[head], [other[head] for other in block.matrices.values()])
            axes.set_title(f"block {block.block}, head {head + 1}: {plain(name)}", fontsize="small")
            axes.set(xlabel=xlabel, ylabel=ylabel)
    title = textwrap.fill(title, max(20, int(8.5 * figure.get_figwidth())))
    figure.suptitle(plain(title), x=0.01, ha="left", fontweight="bold")
    return figure


def _weights(model: Recommender, users: int) -> Iterator[tuple[SequenceBatch, list[dict[str, Tensor]]]]:
    """Batches of test histories and every block's weights on them."""
    if not len(model.model.trunk):
        raise InputError(f"{model.run} has no attention block")
    split = model.split()
    chosen = np.random.default_rng(0).permutation(len(split.users("test")))[:users]
    few = replace(split, parts={"test": split.parts["test"].keeping(np.sort(chosen))})
    size = max(1, _CELLS_AT_ONCE // model.config.max_len**2)
    for _, batch in evaluation_batches(few, "test", model.config.max_len, size):
        with torch.inference_mode():
            try:
                blocks = model.model.attention_weights(batch.to(model.device))
            except NotImplementedError as error:
                raise InputError(f"--attention-map: {error}") from error
        yield batch, [{name: matrix.cpu() for name, matrix in block.items()} for block in blocks]


def _padded_items(batch: SequenceBatch, width: int) -> Tensor:
    """Items of a batch at the right end of ``width`` slots, 0 at padding, int64 [B, width]."""
    padded = torch.zeros(len(batch.lengths), width, dtype=torch.int64)
    padded[torch.from_numpy(batch.lengths)[:, None] > torch.arange(width - 1, -1, -1)] = batch.items
    return padded


def _by_block(matrices: dict[tuple[int, str], _Matrix]) -> list[AttentionMaps]:
    blocks = sorted({number for number, _ in matrices})
    return [AttentionMaps(b, {name: m for (number, name), m in matrices.items() if number == b}) for b in blocks]
