"""Effect of cropping in Fourier space on frequencies near the Nyquist frequency, in simulated EER movies.

`python -m benchmarks.eer_crop` redraws docs/eer-crop.svg.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.plot import STYLE
from benchmarks.simulate_eer import Events, Widths, encode, write_eer
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering

_PICTURE = Path(__file__).parents[1] / "docs" / "eer-crop.svg"
_WIDTHS = Widths()
# number of electron positions within a detector pixel, along each axis
_PLACES = 4
_PLAIN, _CROPPED = "rendered at 4K", "rendered at 8K, cropped to 4K"
_COLOURS = {_PLAIN: "#d55e00", _CROPPED: "#0072b2"}
_LINE_WIDTHS = {_PLAIN: 3.0, _CROPPED: 1.2}
# 1.4 times Nyquist is beyond the 4K grid, 0.9 times is within
FREQUENCIES = (1.4, 0.9)


@dataclass(frozen=True)
class Wave:
    """A movie of a beam with a density that varies along x.

    Attributes
    ----------
    frequency : float
        Frequency of the variation, in units of the Nyquist frequency of the detector.
    modulation : float
        Amplitude of the variation, as a fraction of the mean.
    mean : float
        Mean electrons per pixel and frame.
    """

    frequency: float
    modulation: float = 0.5
    shape: tuple[int, int] = (256, 640)
    frames: int = 40
    mean: float = 0.05

    def write(self, path: Path, seed: int = 0) -> None:
        """Write the movie as an EER file with electrons on the 16K grid."""
        rng = np.random.default_rng(seed)
        streams = [encode(self._events(rng), self.shape[0] * self.shape[1], _WIDTHS) for _ in range(self.frames)]
        write_eer(path, streams, self.shape, _WIDTHS)

    def _events(self, rng: np.random.Generator) -> Events:
        ny, nx = self.shape
        # in detector pixels; a pixel receives at most one electron per frame
        places = (np.arange(_PLACES * nx) + 0.5) / _PLACES
        density = self.mean * (1 + self.modulation * np.cos(np.pi * self.frequency * places)).reshape(nx, _PLACES)
        pixels = np.flatnonzero(rng.random((ny, nx)) < density.mean(axis=1))
        columns = pixels % nx
        until = density.cumsum(axis=1)[columns]
        x = (rng.random((len(pixels), 1)) * until[:, -1:] >= until[:, :-1]).sum(axis=1)
        y = rng.integers(0, _PLACES, len(pixels))
        # the highest bit is stored inverted
        return Events(pixels, x ^ (_PLACES // 2), y ^ (_PLACES // 2))


def spectrum(path: Path, rendering: Rendering) -> NDArray[np.float64]:
    """Return the amplitudes along x in the only fraction of a movie, relative to the mean.

    There is one amplitude per frequency, from 0 to the Nyquist frequency.
    """
    with EerMovie(path, rendering, EerGains()) as movie:
        columns = movie.frame(0).sum(axis=0, dtype=np.float64)
    amplitudes: NDArray[np.float64] = 2 * np.abs(np.fft.rfft(columns)) / columns.sum()
    return amplitudes


def spectra(wave: Wave, folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the spectra of a wave, rendered at 4K, and rendered at 8K and cropped."""
    path = folder / "wave.eer"
    wave.write(path)
    renderings = {
        _PLAIN: Rendering(grouping=wave.frames),
        _CROPPED: Rendering(grouping=wave.frames, upsampling=2, crop=1),
    }
    return {name: spectrum(path, rendering) for name, rendering in renderings.items()}


def _draw(axis: Axes, wave: Wave, lines: dict[str, NDArray[np.float64]]) -> None:
    within = "beyond" if wave.frequency > 1 else "within"
    # frequency at which the wave appears on the 4K grid
    place = min(wave.frequency, 2 - wave.frequency)
    axis.set(
        title=f"{wave.frequency:g} x Nyquist: {within} the 4K grid",
        xlabel="frequency / Nyquist frequency of the detector",
        ylabel="amplitude / mean",
        xlim=(max(0, round(place - 0.4, 1)), 1),
        ylim=(0, 0.8),
    )
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    for name, amplitudes in lines.items():
        frequencies = np.linspace(0, 1, len(amplitudes))
        # omit frequency 0, which is the mean
        axis.plot(frequencies[1:], amplitudes[1:], color=_COLOURS[name], linewidth=_LINE_WIDTHS[name], label=name)
    axis.axhline(wave.modulation, color="#666666", linewidth=0.8, linestyle="--", label="amplitude on the detector")
    axis.legend(frameon=False, loc="upper left")


def main() -> None:
    """Draw the picture of the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, nargs="?", default=_PICTURE)
    arguments = parser.parse_args()
    with mpl.rc_context(STYLE), tempfile.TemporaryDirectory() as folder:
        canvas = Figure(figsize=(9, 3.2), layout="constrained")
        for axis, frequency in zip(canvas.subplots(1, 2), FREQUENCIES, strict=True):
            wave = Wave(frequency)
            _draw(axis, wave, spectra(wave, Path(folder)))
        canvas.savefig(arguments.picture, facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
