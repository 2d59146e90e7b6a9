"""Crop images in Fourier space: keep the frequencies that a coarser grid holds, and return to pixels.

The transforms are those of NumPy in single precision. Rows are transformed a few at a time, and only those columns of
the result are kept that remain; then columns, a few at a time. So the memory beyond the image is that of the cropped
columns of the spectrum, and the columns that are dropped are never transformed.

The cropped spectrum is the one of RELION's motion correction (cropInFourierSpace): the Nyquist row of an even size is
that of the negative frequency, and the imaginary part of the Nyquist column has no effect. Nothing is normalised, so
the sum of all pixels is kept.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pixels that are transformed together; they and their transform fit in the private cache of a core.
_PIXELS_AT_ONCE = 1 << 17
# Columns that are copied together, at least: one line of the cache.
_LEAST_COLUMNS = 8

Shape = tuple[int, int]


def crop(
    rows: Callable[[int, int], NDArray[np.float32]], shape: Shape, cropped: Shape
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the rows of a cropped image in blocks, each with the number of its first row.

    All rows of the image are requested before the first block is yielded.

    Parameters
    ----------
    rows : callable
        Returns the rows of the image from one number to another (exclusive). They may be overwritten by the next call.
    shape, cropped : tuple
        Rows and columns of the image, and of the cropped image.
    """
    spectrum = np.empty((shape[0], cropped[1] // 2 + 1), np.complex64)
    _transform_rows(rows, shape, spectrum)
    _crop_columns(spectrum, cropped[0])
    step = _at_once(cropped[1])
    for first in range(0, cropped[0], step):
        block: NDArray[Any] = np.fft.irfft(spectrum[first : min(first + step, cropped[0])], cropped[1])
        yield first, block


def spectrum_bytes(shape: Shape, cropped: Shape) -> int:
    """Return the size in bytes of the memory that `crop` needs beyond a few rows."""
    return shape[0] * (cropped[1] // 2 + 1) * np.dtype(np.complex64).itemsize


def _at_once(length: int) -> int:
    return max(1, _PIXELS_AT_ONCE // length)


def _transform_rows(
    rows: Callable[[int, int], NDArray[np.float32]], shape: Shape, spectrum: NDArray[np.complex64]
) -> None:
    """Fill `spectrum` with the columns that remain of the transformed rows."""
    step = _at_once(shape[1])
    for first in range(0, shape[0], step):
        end = min(first + step, shape[0])
        spectrum[first:end] = np.fft.rfft(rows(first, end))[:, : spectrum.shape[1]]


def _crop_columns(spectrum: NDArray[np.complex64], ny: int) -> None:
    """Transform columns, keep `ny` of their frequencies, and transform them back into the first `ny` rows."""
    height, width = spectrum.shape
    step = max(_LEAST_COLUMNS, _at_once(2 * height))
    top = -(-ny // 2)
    for first in range(0, width, step):
        columns = np.fft.fft(np.ascontiguousarray(spectrum[:, first : first + step].T))
        kept = np.concatenate((columns[:, :top], columns[:, height - (ny - top) :]), axis=1)
        spectrum[:ny, first : first + step] = np.fft.ifft(kept).T
