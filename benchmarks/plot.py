"""Plot of the report: size against time, one panel per kind of movie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from benchmarks.competitors import OURS, RELION
from benchmarks.figures import Figure
from benchmarks.labels import Label, place

_COLUMNS = 2
_PANEL = (4.5, 3.4)
_COLOURS = {OURS: "#0072b2", RELION: "#d55e00"}
_OTHERS = "#666666"
_MANY = {RELION: "RELION, MPI", "bzip2": "bzip2"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    # equal figures produce identical files
    "svg.hashsalt": "cryofs",
}


def write_plot(figures: Sequence[Figure], path: Path) -> None:
    """Draw one panel per case."""
    panels: dict[str, list[Figure]] = {}
    for figure in figures:
        panels.setdefault(figure.case, []).append(figure)
    rows = -(-max(len(panels), 1) // _COLUMNS)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(_COLUMNS * _PANEL[0], rows * _PANEL[1]), layout="constrained")
        axes = canvas.subplots(rows, _COLUMNS, squeeze=False).flatten()
        labels = {}
        for axis, (case, members) in zip(axes, panels.items(), strict=False):
            labels[axis] = _draw(axis, case, members)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        canvas.draw_without_rendering()
        for axis, wanted in labels.items():
            place(axis, wanted)
        canvas.savefig(path, facecolor="white", metadata={"Date": None})


def _draw(axis: Axes, case: str, figures: Sequence[Figure]) -> list[Label]:
    numbers = " (numbers: EER frames per fraction)" if any(figure.grouping for figure in figures) else ""
    axis.set(title=case, xlabel=f"size, % of the original{numbers}", ylabel="seconds per movie", yscale="log")
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.ticklabel_format(axis="x", useOffset=False)
    names, groupings = [], []
    for name in dict.fromkeys(_name(figure) for figure in figures):
        line = sorted((figure for figure in figures if _name(figure) == name), key=lambda figure: figure.percent)
        x, y = [figure.percent for figure in line], [figure.seconds_each for figure in line]
        who, many = line[0].competitor, line[0].movies > 1
        colour = _COLOURS.get(who, _OTHERS)
        axis.plot(x, y, color=colour, linewidth=1, marker="o" if many else "s", markersize=5)
        names.append(Label(name, x[-1], y[-1], colour, weight="bold" if who == OURS else "normal"))
        if who == OURS and many:
            groupings += [Label(str(f.grouping), f.percent, f.seconds_each, _OTHERS) for f in line if f.grouping]
    axis.margins(y=0.16)
    low, high = axis.get_xlim()
    # leave space for labels to the right of their points
    axis.set_xlim(low - 0.08 * (high - low), high + 0.4 * (high - low))
    return names + groupings


def _name(figure: Figure) -> str:
    if figure.movies == 1:
        return figure.competitor
    return _MANY.get(figure.competitor, f"{figure.competitor}, of {figure.movies}")
