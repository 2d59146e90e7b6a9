"""Draw the preview of a movie as a single picture with captions."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cryofs.errors import SettingsError
from cryofs.report.movie_summary import MovieSummary, limits
from cryofs.storage import atomic_file

_INK, _QUIET, _BAR = "#1b2733", "#5b6875", "#2f6f8f"
_FONT = 10
# Matplotlib supports more formats, including TIFF, but a TIFF file could be mistaken for an archived movie.
_FORMATS = ("png", "svg", "pdf")


def save_preview(summary: MovieSummary, target: Path) -> None:
    """Write a preview to a file in the format that matches its suffix.

    Raises
    ------
    SettingsError
        The suffix is not a supported format.
    """
    suffix = target.suffix.removeprefix(".").lower()
    if suffix not in _FORMATS:
        raise SettingsError(
            f"{target}: unsupported picture format (expected .{', .'.join(_FORMATS)}); use one of these suffixes"
        )
    drawn = io.BytesIO()
    draw(summary).savefig(drawn, format=suffix)
    atomic_file.write_file(target, drawn.getvalue())


def draw(summary: MovieSummary) -> Figure:
    """Return the figure of a preview."""
    figure = Figure(figsize=(14, 6), dpi=110, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.12)  # type: ignore[union-attr,call-arg]
    figure.suptitle(f"{summary.name}\n", x=0.012, ha="left", fontsize=15, fontweight="bold", color=_INK)
    figure.text(0.012, 0.92, f"{summary.facts}; {summary.dose}", fontsize=_FONT, color=_QUIET, va="top")
    whole, power, often = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    _draw_sum(whole, summary)
    _draw_spectrum(power, summary)
    _draw_histogram(often, summary)
    return figure


def _draw_sum(axes: Axes, summary: MovieSummary) -> None:
    low, high = limits(summary.total)
    axes.imshow(summary.total, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    averaged = f", averaged over {summary.binning} \u00d7 {summary.binning} pixels" if summary.binning > 1 else ""
    _caption(axes, "Sum of all frames", f"black {low:.3g}, white {high:.3g} per pixel{averaged}")


def _draw_spectrum(axes: Axes, summary: MovieSummary) -> None:
    low, high = limits(summary.spectrum)
    axes.imshow(summary.spectrum, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    edge = f"edge: {summary.nyquist:.3g} \u00c5" if summary.nyquist else "edge: two pixels"
    side = summary.spectrum.shape[0]
    _caption(axes, "Power spectrum of the sum", f"logarithm, mean over tiles of {side} \u00d7 {side} pixels; {edge}")


def _draw_histogram(axes: Axes, summary: MovieSummary) -> None:
    histogram = summary.histogram
    axes.stairs(histogram.shares, histogram.edges, fill=True, color=_BAR)
    axes.set_xlim(histogram.edges[0], histogram.edges[-1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=histogram.whole))
    axes.tick_params(colors=_QUIET, labelsize=_FONT - 1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_QUIET)
    axes.set_box_aspect(1)
    _caption(axes, *histogram_caption(summary))


def histogram_caption(summary: MovieSummary) -> tuple[str, str]:
    """Return the title and the explanation of the histogram."""
    if summary.histogram.whole:
        return "Counts", f"percentage of pixels of a {summary.singular} by count; rare counts omitted"
    return "Values", f"percentage of pixels of a {summary.singular} by value; 0.1 % omitted at each end"


def _caption(axes: Axes, title: str, text: str) -> None:
    axes.set_title(title, loc="left", fontsize=_FONT + 2, color=_INK)
    axes.set_xlabel(text, fontsize=_FONT - 1, color=_QUIET, loc="left", labelpad=8)
