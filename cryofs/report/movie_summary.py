"""Summarise a movie as the sum of all frames, the power spectrum of the sum, and a histogram of the counts.

Row 0 of an image is row 0 of the MRC file, which pictures show at the bottom.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.archive.frame_stream import checked_frames
from cryofs.formats import mrc
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.movie import Movie
from cryofs.movies.registry import open_movie
from cryofs.text import printable

# Maximum side of a picture, and side of the tiles whose spectra are averaged, in pixels.
_PICTURE = 1024
_TILE = 512
# Number of evenly spaced frames for the histogram, and the number of pixels used from their rows.
_COUNTED_FRAMES = 8
_COUNTED_PIXELS = 1 << 24
_BINS = 60
# Fraction of the values that the histogram omits at each end.
_TAIL = 0.001


@dataclass(frozen=True)
class Histogram:
    """Histogram of the values of single frames.

    Attributes
    ----------
    edges : ndarray
        Edges of the bins, float, shape (bins + 1,).
    shares : ndarray
        Fraction of the pixels in each bin, float, shape (bins,).
    whole : bool
        Whether each bin contains a single whole number.
    """

    edges: NDArray[np.float64]
    shares: NDArray[np.float64]
    whole: bool


@dataclass(frozen=True)
class MovieSummary:
    """Figures and images of a movie, from which a preview is drawn.

    Attributes
    ----------
    shape : tuple
        Numbers of frames, rows and columns.
    unit : str
        Plural name of a frame: "frames", or "fractions of 40 frames" for EER.
    mean : float
        Mean of all values of all frames, divided by the scale of the values.
    total : ndarray, shape (rows, columns)
        Sum of all frames, float32, averaged over `binning` x `binning` pixels.
    spectrum : ndarray
        Logarithm of the mean power of square tiles of the sum, float32, with frequency 0 in the centre.
    """

    name: str
    shape: tuple[int, int, int]
    unit: str
    dtype: str
    pixel_size: float | None
    mean: float
    total: NDArray[np.float32]
    binning: int
    spectrum: NDArray[np.float32]
    histogram: Histogram

    @property
    def nyquist(self) -> float | None:
        """Resolution at the edge of the spectrum in angstrom, or None if the pixel size is unknown."""
        return 2 * self.pixel_size if self.pixel_size else None

    @property
    def singular(self) -> str:
        """Singular name of a frame: "frame" or "fraction"."""
        return self.unit.split()[0].removesuffix("s")

    @property
    def facts(self) -> str:
        """Line of text with the number of frames, image size, pixel type and pixel size."""
        frames, ny, nx = self.shape
        pixel = f", {self.pixel_size:.4g} \u00c5 per pixel" if self.pixel_size else ""
        return f"{frames} {self.unit} of {nx} \u00d7 {ny}, {self.dtype}{pixel}"

    @property
    def dose(self) -> str:
        """Line of text with the mean dose per pixel, and per area if the pixel size is known."""
        frames = self.shape[0]
        area = f" = {self.mean * frames / self.pixel_size**2:.3g} per \u00c5\u00b2" if self.pixel_size else ""
        total = f"{self.mean * frames:.4g} per pixel in total{area}"
        return f"mean dose: {self.mean:.4g} per pixel and {self.singular}, {total}"


def summarize(path: Path, jobs: int, rendering: Rendering | None = None) -> MovieSummary:
    """Decode a movie of any kind, and return its summary; EER movies are rendered with `rendering`.

    Raises
    ------
    DamagedError, FormatError, GainError
        Opening the movie or decoding a frame failed.
    """
    with ThreadPoolExecutor(jobs) as pool, open_movie(path, pool=pool, rendering=rendering) as movie:
        header = movie.mrc_header
        total = np.zeros(movie.shape[1:], np.float32)
        for raw in checked_frames(movie):
            with np.errstate(all="ignore"):
                total += mrc.shown_values(raw, header)
        pixel_size = header.pixel_size if _has_pixel_size(header) else None
        binning = -(-max(total.shape) // _PICTURE)
        return MovieSummary(
            name=printable(path.name),
            shape=movie.shape,
            unit=movie.frame_unit,
            dtype=movie.dtype.name,
            pixel_size=pixel_size,
            mean=_mean(total) / movie.shape[0] / movie.scale,
            total=binned(total, binning),
            binning=binning,
            spectrum=power_spectrum(total),
            histogram=_histogram(movie),
        )


def binned(image: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Return the means of squares of step x step pixels, as float32; incomplete squares at the edges are omitted."""
    ny, nx = (max(length // step, 1) for length in image.shape)
    step_y, step_x = min(step, image.shape[0]), min(step, image.shape[1])
    squares = image[: ny * step_y, : nx * step_x].reshape(ny, step_y, nx, step_x)
    means: NDArray[np.float32] = squares.mean((1, 3), dtype=np.float32)
    return means


def power_spectrum(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithm of the mean power of square tiles, as float32 with frequency 0 (NaN) in the centre."""
    side = min(_TILE, *image.shape)
    mean = _mean(image)
    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    power = np.zeros((side, side), np.float64)
    for top in range(0, image.shape[0] - side + 1, side):
        for left in range(0, image.shape[1] - side + 1, side):
            tile = np.nan_to_num(image[top : top + side, left : left + side] - mean, posinf=0, neginf=0)
            power += np.abs(np.fft.fft2(tile * window)) ** 2
    power = np.fft.fftshift(power)
    with np.errstate(divide="ignore"):
        spectrum: NDArray[np.float32] = np.log10(power).astype(np.float32)
    centre = side // 2
    spectrum[max(centre - 1, 0) : centre + 2, max(centre - 1, 0) : centre + 2] = np.nan
    spectrum[~np.isfinite(spectrum)] = np.nan
    return spectrum


def limits(image: NDArray[Any], tail: float = 0.5) -> tuple[float, float]:
    """Return the values to draw as black and white; `tail` percent of the values lie beyond each of them."""
    good = image[np.isfinite(image)]
    if not good.size:
        return 0.0, 1.0
    low, high = np.percentile(good, (tail, 100 - tail))
    return float(low), float(high) if high > low else float(low) + 1.0


def _histogram(movie: Movie) -> Histogram:
    frames = np.unique(np.linspace(0, movie.shape[0] - 1, _COUNTED_FRAMES).astype(int)).tolist()
    step = -(-len(frames) * movie.shape[1] * movie.shape[2] // _COUNTED_PIXELS)
    values = [movie.histogram_frame(k) for k in frames]
    pixels = np.concatenate([frame[::step].reshape(-1) for frame in values])
    pixels = pixels[np.isfinite(pixels)]
    if not pixels.size:
        return Histogram(np.array([0.0, 1.0]), np.array([0.0]), whole=False)
    low, high = np.quantile(pixels, (_TAIL, 1 - _TAIL))
    whole = bool((pixels == np.rint(pixels)).all()) and high - low < _BINS
    evenly = np.linspace(low, max(high, low + 1e-6), _BINS)
    edges = np.arange(np.floor(low), np.ceil(high) + 2) - 0.5 if whole else evenly
    counts, _ = np.histogram(pixels, edges)
    return Histogram(edges, counts / pixels.size, whole)


def _mean(image: NDArray[np.float32]) -> float:
    """Return the mean of the finite values, or 0 if there are none."""
    good = np.isfinite(image)
    return float(image.mean(dtype=np.float64, where=good)) if good.any() else 0.0


def _has_pixel_size(header: mrc.MrcHeader) -> bool:
    """Return True if the header has a pixel size other than 1, which stands for an unknown size."""
    return header.pixel_size is not None and header.pixel_size != 1.0
