"""What tests of figures ask for."""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def cut_texts(figure: Figure) -> list[str]:
    """The texts that reach beyond the figure's edges or lie over its title, when it is drawn."""
    FigureCanvasAgg(figure).draw()
    title = next((text for text in figure.texts if text.get_text() == figure.get_suptitle()), None)
    area = title.get_window_extent() if title else None
    unseen = _unseen(figure)
    found = []
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text in unseen or not text.get_text():
            continue
        box = text.get_window_extent()
        beyond = min(box.x0, box.y0) < -1 or box.x1 > figure.bbox.width + 1 or box.y1 > figure.bbox.height + 1
        if beyond or (area is not None and text is not title and box.overlaps(area)):
            found.append(text.get_text())
    return found


def _unseen(figure: Figure) -> set[Artist]:
    """Texts that matplotlib keeps and does not draw: of ticks outside the axis."""
    ticks = [
        (tick, sorted(axis.get_view_interval()))
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    ]
    return {
        label
        for tick, (low, high) in ticks
        if not low <= tick.get_loc() <= high
        for label in (tick.label1, tick.label2)
    }
