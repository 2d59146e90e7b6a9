"""The preview of a movie as one picture, with captions that say what it shows."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cryofs.errors import SettingsError
from cryofs.report.movie_summary import Look, limits
from cryofs.storage import atomic_file

_INK, _QUIET, _BAR = "#1b2733", "#5b6875", "#2f6f8f"
_FONT = 10
# Matplotlib knows more; among them TIFF, and archived movies are called so.
_KINDS = ("png", "svg", "pdf")


def save_preview(look: Look, target: Path) -> None:
    """Draw a preview, in the format of the target's suffix.

    Raises
    ------
    SettingsError
        There is no such format.
    """
    kind = target.suffix.removeprefix(".").lower()
    if kind not in _KINDS:
        raise SettingsError(f"{target}: pictures are written as {', '.join(_KINDS)}; name one of these")
    drawn = io.BytesIO()
    draw(look).savefig(drawn, format=kind)
    atomic_file.write_file(target, drawn.getvalue())


def draw(look: Look) -> Figure:
    """Figure of a preview."""
    figure = Figure(figsize=(14, 6), dpi=110, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.12)  # type: ignore[union-attr,call-arg]
    figure.suptitle(f"{look.name}\n", x=0.012, ha="left", fontsize=15, fontweight="bold", color=_INK)
    figure.text(0.012, 0.92, f"{look.facts}; {look.dose}", fontsize=_FONT, color=_QUIET, va="top")
    whole, power, often = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    _draw_sum(whole, look)
    _draw_spectrum(power, look)
    _draw_histogram(often, look)
    return figure


def _draw_sum(axes: Axes, look: Look) -> None:
    low, high = limits(look.total)
    axes.imshow(look.total, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    averaged = f", {look.binning} \u00d7 {look.binning} pixels averaged" if look.binning > 1 else ""
    _caption(axes, "Sum of all frames", f"black {low:.3g}, white {high:.3g} a pixel{averaged}")


def _draw_spectrum(axes: Axes, look: Look) -> None:
    low, high = limits(look.spectrum)
    axes.imshow(look.spectrum, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    edge = f"edge: {look.nyquist:.3g} \u00c5" if look.nyquist else "edge: two pixels"
    side = look.spectrum.shape[0]
    _caption(axes, "Power spectrum of the sum", f"logarithm, mean of tiles of {side} \u00d7 {side}; {edge}")


def _draw_histogram(axes: Axes, look: Look) -> None:
    found = look.histogram
    axes.stairs(found.shares, found.edges, fill=True, color=_BAR)
    axes.set_xlim(found.edges[0], found.edges[-1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=found.whole))
    axes.tick_params(colors=_QUIET, labelsize=_FONT - 1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_QUIET)
    axes.set_box_aspect(1)
    _caption(axes, *histogram_caption(look))


def histogram_caption(look: Look) -> tuple[str, str]:
    """Title and explanation of the histogram."""
    if look.histogram.whole:
        return "Counts", f"share of the pixels of a {look.one} with so many; rare ones left out"
    return "Values", f"share of the pixels of a {look.one}; the outermost 0.1 % left out"


def _caption(axes: Axes, title: str, said: str) -> None:
    axes.set_title(title, loc="left", fontsize=_FONT + 2, color=_INK)
    axes.set_xlabel(said, fontsize=_FONT - 1, color=_QUIET, loc="left", labelpad=8)
