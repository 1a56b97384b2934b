"""Attention maps as pictures: a row of panels for each block, a column for each head.

If a variant has several matrices, like `awr`, they are side by side if that takes at most four columns. Otherwise each
gets its own row below the others of its block, so that a figure with many heads fits the width of a page. All panels of
a block share one scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from attnrec.analysis.attention_maps import AttentionMaps, Matrix, category_maps, slot_maps
from attnrec.analysis.style import heading, plain
from attnrec.data.reading.items import read_categories
from attnrec.recommender import Recommender

_MOST_COLUMNS = 4  # of several matrices side by side
_PAGE = 12.0  # inches that many columns share
_Row = tuple[AttentionMaps, list[tuple[str, int]]]  # a block, and the matrices and heads of its panels


def attention_figures(
    model: Recommender, *, items: str | Path | None = None, category: str = "", slots: int = 30, users: int = 1000
) -> dict[str, Figure]:
    """Attention maps of a trained run: by slot, and between item categories if these are known.

    Args:
        model: the run, as `attnrec.load` opens it.
        items: see `attnrec.data.reading.items.read_categories`; by default, the categories in the data.
        category: the column of ``items``.
        slots: how many of the most recent slots are shown.
        users: the most users to average over.

    Raises:
        InputError: the data or the items file cannot be used, or the run's operator has no weights.
    """
    name = f"{Path(model.config.data.dataset).stem}, {model.config.model.attention}"
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


def slot_figure(maps: Sequence[AttentionMaps], title: str) -> Figure:
    """A heat map for each head of each block and each name of weights, from a slot (row) to a slot (column).

    Colours follow the square root of the weight: a first item can only attend to itself, and its 1 would leave all
    others dark. If some weights of a block are negative, colours follow the weight, and white is 0.
    """
    slots = next(iter(maps[0].matrices.values())).shape[-1]
    ticks = sorted({0, slots // 2, slots - 1})
    labels = [str(slots - tick) for tick in ticks]

    def draw(axes: Axes, matrix: Matrix, together: Matrix) -> AxesImage:
        shown = np.ma.masked_where(np.triu(np.ones_like(matrix), 1) > 0, matrix)
        axes.set_xticks(ticks, labels, fontsize="small")
        axes.set_yticks(ticks, labels, fontsize="small")
        if together.min() < 0:  # not every variant's weights are positive
            reach = float(np.abs(together).max())
            return axes.imshow(shown, cmap="RdBu_r", norm=Normalize(-reach, reach))
        return axes.imshow(shown, cmap="viridis", norm=PowerNorm(0.5, 0, float(together.max())))

    figure, _ = _panels(maps, draw, size=2.6, room=0.3)
    figure.supylabel("from slot (1: the last item)", fontsize="medium")
    figure.supxlabel("to slot", fontsize="medium")
    heading(figure, title)
    return figure


def category_figure(maps: Sequence[AttentionMaps], names: Sequence[str], title: str) -> Figure:
    """A heat map for each head of each block and each name of weights; white is 1, even attention."""

    def draw(axes: Axes, matrix: Matrix, together: Matrix) -> AxesImage:
        axes.set_xticks(range(len(names)), list(map(plain, names)), rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), list(map(plain, names)), fontsize=6)
        reach = max(math.log(1.25), float(np.quantile(np.abs(np.log(together.clip(1e-3))), 0.98)))
        return axes.imshow(matrix.clip(1e-3), cmap="RdBu_r", norm=LogNorm(math.exp(-reach), math.exp(reach)))

    room = 0.06 * max(map(len, names), default=0)
    figure, bars = _panels(maps, draw, size=max(2.6, 0.1 * len(names)), room=room)
    for bar in bars:
        bar.minorticks_off()
        high = math.log(bar.norm.vmax or 1.0)
        marks = [math.exp(part * high) for part in (-1, -0.5, 0, 0.5, 1)]
        bar.set_ticks(marks, labels=[f"{mark:.2g}" for mark in marks], fontsize=7)
    figure.supylabel("from", fontsize="medium")
    figure.supxlabel("to", fontsize="medium")
    heading(figure, title)
    return figure


def _panels(
    maps: Sequence[AttentionMaps], draw: Callable[[Axes, Matrix, Matrix], AxesImage], size: float, room: float
) -> tuple[Figure, list[Colorbar]]:
    """The grid of panels, and a colour bar for each block.

    Args:
        maps: the maps to show.
        draw: draws one panel, from its axes, its matrix and all matrices of the block.
        size: size of a panel in inches, if there are few columns.
        room: room for the tick labels at the left and below, in inches.
    """
    rows = _rows(maps)
    columns = max(len(shown) for _, shown in rows)
    size = min(size, max(1.4, _PAGE / columns))
    size_of_all = (1.9 + room + size * columns, 1.1 + room + (size + 0.25) * len(rows))
    figure = Figure(figsize=size_of_all, layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    drawn: dict[int, tuple[AxesImage, list[Axes]]] = {}  # by block: a picture, and the panels of its scale
    for number, ((block, shown), line) in enumerate(zip(rows, panels, strict=True)):
        together = np.concatenate([matrices.ravel() for matrices in block.matrices.values()])
        below = len(rows[number + 1][1]) if number + 1 < len(rows) else 0
        for place, (axes, (name, head)) in enumerate(zip(line, shown, strict=False)):
            image = draw(axes, block.matrices[name][head], together)
            drawn.setdefault(block.block, (image, []))[1].append(axes)
            axes.tick_params(labelleft=place == 0, labelbottom=place >= below)
        for axes in line[len(shown) :]:
            axes.set_visible(False)
        _label(line, block, shown, first=number == 0)
    bars = []
    for image, beside in drawn.values():
        high = len({axes.get_position().y0 for axes in beside})
        bars.append(figure.colorbar(image, ax=beside, aspect=22 * high, shrink=0.95, pad=0.02))
        bars[-1].ax.tick_params(labelsize="small")
    return figure, bars


def _rows(maps: Sequence[AttentionMaps]) -> list[_Row]:
    """The panels of each row: all of a block, or those of one matrix if a block has too many."""
    heads = {block.block: range(len(next(iter(block.matrices.values())))) for block in maps}
    if max(len(heads[block.block]) * len(block.matrices) for block in maps) <= _MOST_COLUMNS:
        return [(block, [(name, head) for name in block.matrices for head in heads[block.block]]) for block in maps]
    return [(block, [(name, head) for head in heads[block.block]]) for block in maps for name in block.matrices]


def _label(line: Sequence[Axes], block: AttentionMaps, shown: Sequence[tuple[str, int]], *, first: bool) -> None:
    """Label the block at the left and the heads above; a row's only matrix is named at the left, too."""
    names = list(dict.fromkeys(name for name, _ in shown))
    alone = len(names) == 1
    line[0].set_ylabel(f"block {block.block}" + (f"\n{plain(names[0])}" if alone else ""))
    for axes, (name, head) in zip(line, shown, strict=False):
        if first or not alone:
            axes.set_title(f"head {head + 1}" if alone else f"{plain(name)}, head {head + 1}", fontsize="small")
