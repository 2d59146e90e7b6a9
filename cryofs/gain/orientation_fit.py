"""Find the orientation of a gain reference by correlating it with the mean of the counts of movies.

A pixel with a high gain counts few electrons, so the mean of the counts is proportional to 1 / gain. Before the
correlation, both images are cleared of slow variation and lines, which also occur with other detectors and specimens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.kernels.orientation import ORIENTATIONS, Orientation

# Number of standard deviations from which a correlation is significant: by chance, one gain reference in 10^14.
SIGNIFICANT = 8.0
# Side of the squares in which slow variation is removed, in pixels.
_SQUARE = 32
# Number of standard deviations beyond which values are clipped, because the pixel is hot or dead.
_OUTLIER = 5.0
_ROUNDS = 10
# Number of pixels from which the limits of outliers are computed.
_SAMPLED = 1 << 20
# Maximum side in pixels of the squares whose power spectra are used.
_SPECTRUM = 2048
_FACTORS = (1, 2, 4)


@dataclass(frozen=True)
class Fit:
    """Result of correlating a gain reference in one orientation with counts.

    Attributes
    ----------
    significance : float
        Correlation of the counts with 1 / gain, in units of the standard deviation for a randomly displaced reference.
        Negative if counts must be divided by the reference instead of multiplied with it.
    expected : float
        Significance expected for the right reference.
    """

    orientation: Orientation
    significance: float
    expected: float

    @property
    def is_significant(self) -> bool:
        """True if the reference fits the counts in this orientation."""
        return abs(self.significance) >= SIGNIFICANT

    @property
    def is_decided(self) -> bool:
        """True if the counts suffice to reject a reference that does not fit."""
        return self.expected >= 2 * SIGNIFICANT

    @property
    def is_divisor(self) -> bool:
        """True if counts must be divided by the reference."""
        return self.significance < 0


def best_fit(fits: Iterable[Fit]) -> Fit | None:
    """Return the most significant of some fits, or None if none is significant."""
    significant = [fit for fit in fits if fit.is_significant]
    return max(significant, key=lambda fit: abs(fit.significance), default=None)


def rank(counts: NDArray[Any], gain: NDArray[Any]) -> list[Fit]:
    """Return the fits of all orientations in which the shape of the reference fits the counts, most significant first.

    Parameters
    ----------
    counts : ndarray, shape (ny, nx)
        Mean or sum of frames.
    gain : ndarray
        Factors or divisors of counts; pixels with 0, a negative value, NaN or infinity are defects. The pixels of the
        reference may be two or four times as large or small as those of the frames.

    Raises
    ------
    ValueError
        The shape of the reference fits the counts in no orientation.
    """
    factor_counts, factor_gain = _common_grid(counts.shape, gain.shape)
    binned = _binned(counts, factor_counts)
    pattern = _pattern(binned, np.isfinite(binned))
    valid = np.isfinite(gain) & (gain > 0)
    expected = np.zeros(gain.shape, np.float32)
    np.divide(np.float32(1), gain, out=expected, where=valid, casting="unsafe")
    intact = _binned(valid, factor_gain) == factor_gain**2
    reference = _pattern(_binned(expected, factor_gain), intact)
    noise = _Noise(pattern, reference)
    same = float(np.vdot(reference, reference))
    fits = []
    for orientation in ORIENTATIONS:
        if orientation.turned_shape(reference.shape) == pattern.shape:
            product = float(np.vdot(pattern, orientation.turned(reference)))
            deviation = noise.deviation(orientation)
            fits.append(Fit(orientation, product / deviation, same / deviation))
    return sorted(fits, key=lambda fit: -abs(fit.significance))


def _common_grid(counts: tuple[int, ...], gain: tuple[int, ...]) -> tuple[int, int]:
    """Return the factors by which to bin counts and reference, so that both have the coarser grid."""
    for factor in _FACTORS:
        for orientation in ORIENTATIONS[:2]:
            turned = orientation.turned_shape((gain[0], gain[1]))
            if turned == (factor * counts[0], factor * counts[1]):
                return 1, factor
            if (factor * turned[0], factor * turned[1]) == counts:
                return factor, 1
    (ny, nx), (rows, columns) = gain, counts
    raise ValueError(f"size mismatch in all orientations (expected {rows} x {columns}, got {ny} x {nx})")


def _binned(image: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Return an image binned by `factor`; each pixel is the sum of `factor` x `factor` pixels."""
    if factor == 1:
        return image.astype(np.float32, copy=False)
    ny, nx = (length // factor for length in image.shape)
    summed: NDArray[np.float32] = image.reshape(ny, factor, nx, factor).sum((1, 3), dtype=np.float32)
    return summed


def _pattern(image: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the relative difference of each pixel from the mean of its neighbourhood, without row and column offsets.

    A neighbourhood is a square of a regular grid. Invalid pixels, and edge pixels outside whole squares, are 0.
    """
    image = _clipped(image, valid)
    ny, nx = image.shape
    height, width = min(_SQUARE, ny), min(_SQUARE, nx)
    rows, columns = ny // height, nx // width
    inside = np.s_[: rows * height, : columns * width]
    squares = image[inside].reshape(rows, height, columns, width)
    weights = valid[inside].reshape(squares.shape)
    number = weights.sum((1, 3), keepdims=True, dtype=np.float32)
    mean = (squares * weights).sum((1, 3), keepdims=True) / np.maximum(number, 1)
    relative = np.zeros(squares.shape, np.float32)
    np.divide(squares, mean, out=relative, where=(mean > 0) & weights)
    np.subtract(relative, 1, out=relative, where=(mean > 0) & weights)
    # lines and slopes are the sum of a function of the row and a function of the column
    relative -= relative.mean(3, keepdims=True)
    relative -= relative.mean(1, keepdims=True)
    relative *= weights
    pattern = np.zeros(image.shape, np.float32)
    pattern[inside] = _clipped(relative.reshape(rows * height, columns * width), valid[inside])
    return pattern


def _clipped(image: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return an image with outliers clipped and invalid pixels set to 0."""
    # the step is odd, so that it samples all columns
    step = (image.size // _SAMPLED) | 1
    sample = image.reshape(-1)[::step][valid.reshape(-1)[::step]]
    low, high = np.float32(-np.inf), np.float32(np.inf)
    for _ in range(_ROUNDS if sample.size else 0):
        mean, deviation = sample.mean(dtype=np.float64), sample.std(dtype=np.float64)
        low, high = np.float32(mean - _OUTLIER * deviation), np.float32(mean + _OUTLIER * deviation)
        if low <= sample.min() and sample.max() <= high:
            break
        np.clip(sample, low, high, out=sample)
    return np.where(valid, np.clip(image, low, high), np.float32(0))


class _Noise:
    """Standard deviation of the correlation of two patterns over all displacements of one of them.

    It is computed from the power spectra of a central square of each pattern: they give the mean square of all
    correlations, and turning an image turns its power spectrum.
    """

    def __init__(self, pattern: NDArray[np.float32], reference: NDArray[np.float32]):
        side = min(_SPECTRUM, *pattern.shape)
        self._pattern, self._reference = _power(pattern, side), _power(reference, side)
        # converts sums over products of the spectra to correlations of whole patterns
        self._scale = pattern.size / side**6

    def deviation(self, orientation: Orientation) -> float:
        """Return the standard deviation for an orientation of the reference, or infinity if a pattern is flat."""
        turned = self._reference.T if orientation.rot90 % 2 else self._reference
        if orientation.flip != (orientation.rot90 % 2 == 1):
            # frequency 0 keeps its position
            turned = np.roll(turned[:, ::-1], 1, axis=1)
        return float(np.sqrt(np.vdot(self._pattern, turned) * self._scale)) or np.inf


def _power(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the power spectrum of the central square of an image."""
    top, left = ((length - side) // 2 for length in image.shape)
    transform = np.fft.fft2(image[top : top + side, left : left + side])
    return np.asarray(transform.real**2 + transform.imag**2, np.float32)
