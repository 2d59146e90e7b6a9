"""Placement of point labels without overlap."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

_DISTANCES = (7, 12, 20, 30, 42)
_ANGLES = range(0, 360, 45)


@dataclass(frozen=True)
class Label:
    """A label of a point."""

    text: str
    x: float
    y: float
    colour: str
    weight: str = "normal"


def place(axis: Axes, labels: Sequence[Label]) -> None:
    """Draw each label as close to its point as possible without covering a point, a line or another label."""
    canvas = axis.get_figure(root=True)
    assert canvas is not None
    pixels_a_point = canvas.dpi / 72
    taken = [Bbox.from_extents(*(spot - 3), *(spot + 3)) for spot in _drawn(axis)]
    for label in labels:
        best = (np.inf, Bbox.null())
        text = axis.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            color=label.colour,
            weight=label.weight,
            horizontalalignment="center",
            verticalalignment="center",
        )
        box = text.get_window_extent()
        for cost, offset in _offsets(box.width / pixels_a_point, box.height / pixels_a_point):
            moved = box.translated(*(np.array(offset) * pixels_a_point))
            covered = sum(bool(moved.overlaps(other)) for other in taken)
            outside = not _within(moved, axis.get_window_extent())
            if (value := cost + 1000 * covered + 500 * outside) < best[0]:
                best = (value, moved)
                text.set_position(offset)
        taken.append(best[1])


def _offsets(width: float, height: float) -> Iterator[tuple[float, tuple[float, float]]]:
    """Yield the positions around a point with their costs, which are lower for close and horizontal positions."""
    for distance in _DISTANCES:
        for angle in _ANGLES:
            x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            offset = (x * distance + np.round(x) * width / 2, y * (distance + height / 2))
            yield distance + (angle % 90 > 0), offset


def _drawn(axis: Axes) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Yield closely spaced positions along all lines."""
    for line in axis.get_lines():
        corners = axis.transData.transform(line.get_xydata())
        yield from corners
        for start, end in itertools.pairwise(corners):
            steps = int(np.hypot(*(end - start)) // 4) + 1
            yield from (start + (end - start) * step / steps for step in range(1, steps))


def _within(inner: Bbox, outer: Bbox) -> bool:
    return bool(inner.x0 >= outer.x0 and inner.x1 <= outer.x1 and inner.y0 >= outer.y0 and inner.y1 <= outer.y1)
