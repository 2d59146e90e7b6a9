"""A look at a movie: the sum of its frames, the power spectrum of that sum, how often each count occurs.

Images have the rows of the MRC file, from the bottom.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.archive.frame_stream import checked_frames
from cryofs.formats import mrc
from cryofs.movies.movie import Movie
from cryofs.movies.registry import open_movie
from cryofs.text import printable

# Pixels a side that a picture has at most, and tiles whose spectra are averaged have.
_PICTURE = 1024
_TILE = 512
# Counts are taken of so many frames, evenly chosen, and of rows of so many pixels in all.
_COUNTED_FRAMES = 8
_COUNTED_PIXELS = 1 << 24
_BINS = 60
# The histogram leaves out this share of the values at each end.
_TAIL = 0.001


@dataclass(frozen=True)
class Histogram:
    """How often values occur in a pixel of a frame.

    Attributes
    ----------
    edges : ndarray
        Ends of the bins, one more than shares.
    shares : ndarray
        Share of the pixels in each bin.
    whole : bool
        Whether each bin is one whole number.
    """

    edges: NDArray[np.float64]
    shares: NDArray[np.float64]
    whole: bool


@dataclass(frozen=True)
class Look:
    """What a preview shows of a movie.

    Attributes
    ----------
    shape : tuple
        Frames, rows, columns.
    unit : str
        What a frame is called: a frame, or a fraction of some EER frames.
    mean : float
        Mean of all values of all frames.
    total : ndarray, shape (rows, columns)
        Sum of all frames, `binning` x `binning` pixels averaged.
    spectrum : ndarray
        Logarithm of the mean power of tiles of the sum, frequency 0 in the middle.
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
        """Resolution at the edge of the spectrum, in angstrom."""
        return 2 * self.pixel_size if self.pixel_size else None

    @property
    def one(self) -> str:
        """What a frame is called."""
        return self.unit.split()[0].removesuffix("s")

    @property
    def facts(self) -> str:
        """Frames, size, pixel size, type in one line."""
        frames, ny, nx = self.shape
        pixel = f", {self.pixel_size:.4g} \u00c5 a pixel" if self.pixel_size else ""
        return f"{frames} {self.unit} of {nx} \u00d7 {ny}, {self.dtype}{pixel}"

    @property
    def dose(self) -> str:
        """Mean dose in one line, a pixel, and an area where the pixel size is known."""
        frames = self.shape[0]
        area = f" = {self.mean * frames / self.pixel_size**2:.3g} a \u00c5\u00b2" if self.pixel_size else ""
        return f"mean dose: {self.mean:.4g} a pixel and {self.one}, {self.mean * frames:.4g} a pixel in all{area}"


def look_at(path: Path, jobs: int) -> Look:
    """Decode a movie of any kind, and look at it.

    Raises
    ------
    DamagedError, FormatError, GainError
        It cannot be opened, or a frame cannot be decoded.
    """
    with ThreadPoolExecutor(jobs) as pool, open_movie(path, pool=pool) as movie:
        header = movie.mrc_header
        total = np.zeros(movie.shape[1:], np.float32)
        for raw in checked_frames(movie):
            with np.errstate(all="ignore"):
                total += mrc.frame_values(raw, header)[:, : header.nx]
        pixel_size = header.pixel_size if _tells_pixel_size(header) else None
        binning = -(-max(total.shape) // _PICTURE)
        return Look(
            name=printable(path.name),
            shape=movie.shape,
            unit=movie.frame_unit,
            dtype=movie.dtype.name,
            pixel_size=pixel_size,
            mean=_mean(total) / movie.shape[0],
            total=binned(total, binning),
            binning=binning,
            spectrum=power_spectrum(total),
            histogram=_histogram(movie),
        )


def binned(image: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Means of step x step pixels; rows and columns that fill no such square are left out."""
    ny, nx = (max(length // step, 1) for length in image.shape)
    step_y, step_x = min(step, image.shape[0]), min(step, image.shape[1])
    squares = image[: ny * step_y, : nx * step_x].reshape(ny, step_y, nx, step_x)
    means: NDArray[np.float32] = squares.mean((1, 3), dtype=np.float32)
    return means


def power_spectrum(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithm of the mean power of square tiles, frequency 0 in the middle and left out."""
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
    middle = side // 2
    spectrum[max(middle - 1, 0) : middle + 2, max(middle - 1, 0) : middle + 2] = np.nan
    spectrum[~np.isfinite(spectrum)] = np.nan
    return spectrum


def limits(image: NDArray[Any], tail: float = 0.5) -> tuple[float, float]:
    """Values shown as black and as white: all but some percent at each end."""
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
    """Mean of the values that are numbers, 0 where none is."""
    good = np.isfinite(image)
    return float(image.mean(dtype=np.float64, where=good)) if good.any() else 0.0


def _tells_pixel_size(header: mrc.MrcHeader) -> bool:
    """Headers that do not know the pixel size say 1."""
    return header.pixel_size is not None and header.pixel_size != 1.0
