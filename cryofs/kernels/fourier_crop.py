"""Crop images in Fourier space: transform, keep the frequencies of a coarser grid, and transform back.

The transforms are those of NumPy in single precision. A few rows at a time are transformed, and only the columns of the
cropped spectrum are kept; then a few columns at a time are transformed. In addition to the image, this needs only
memory for the cropped columns, and dropped columns are not transformed.

The cropped spectrum equals that of RELION's motion correction (cropInFourierSpace): the Nyquist row of an even size is
that of the negative frequency, and the imaginary part of the Nyquist column has no effect. There is no normalisation,
so cropping preserves the sum of all pixels.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Number of pixels that are transformed together; with their transform, they fit into the private cache of a core.
_PIXELS_AT_ONCE = 1 << 17
# Minimum number of columns that are copied together: one cache line.
_LEAST_COLUMNS = 8

Shape = tuple[int, int]


def crop(
    rows: Callable[[int, int], NDArray[np.float32]], shape: Shape, cropped: Shape
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the cropped image in blocks of rows (float32, shape (n, columns)), each with the number of its first row.

    All rows of the image are requested before the first block is yielded.

    Parameters
    ----------
    rows : callable
        Returns the rows of the image between two row numbers (exclusive). The next call may overwrite the array.
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
    """Return the size of the cropped columns in bytes, which `crop` allocates in addition to a few rows."""
    return shape[0] * (cropped[1] // 2 + 1) * np.dtype(np.complex64).itemsize


def _at_once(length: int) -> int:
    return max(1, _PIXELS_AT_ONCE // length)


def _transform_rows(
    rows: Callable[[int, int], NDArray[np.float32]], shape: Shape, spectrum: NDArray[np.complex64]
) -> None:
    """Transform all rows, and write the columns of the cropped spectrum to `spectrum`."""
    step = _at_once(shape[1])
    for first in range(0, shape[0], step):
        end = min(first + step, shape[0])
        spectrum[first:end] = np.fft.rfft(rows(first, end))[:, : spectrum.shape[1]]


def _crop_columns(spectrum: NDArray[np.complex64], ny: int) -> None:
    """Transform the columns of `spectrum`, keep `ny` frequencies, and transform back into the first `ny` rows."""
    height, width = spectrum.shape
    step = max(_LEAST_COLUMNS, _at_once(2 * height))
    top = -(-ny // 2)
    for first in range(0, width, step):
        columns = np.fft.fft(np.ascontiguousarray(spectrum[:, first : first + step].T))
        kept = np.concatenate((columns[:, :top], columns[:, height - (ny - top) :]), axis=1)
        spectrum[:ny, first : first + step] = np.fft.ifft(kept).T
