"""Conversion of the counts of a fraction to pixels of the movie: unchanged, or cropped in Fourier space.

Thread safety: several threads may convert fractions at the same time.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.formats.mrc import MrcHeader
from cryofs.kernels import fourier_crop
from cryofs.kernels.defect_fill import DefectFill
from cryofs.movies.eer_findings import Findings
from cryofs.movies.eer_gain import EerGain
from cryofs.movies.eer_rendering import Rendering
from cryofs.system.resources import usable_cores, usable_memory

# Share of the usable memory for the spectra of fractions.
_SPECTRA_SHARE = 1 / 8


@dataclass(frozen=True)
class FractionPixels(ABC):
    """Conversion of the counts of fractions to pixels.

    Attributes
    ----------
    header : MrcHeader
        Header of the movie of fractions.
    gain : EerGain or None
        Gain reference to multiply pixels with; None to leave them unchanged.
    """

    header: MrcHeader
    rendering: Rendering
    gain: EerGain | None
    findings: Findings

    @property
    def at_once(self) -> int:
        """Number of fractions to render at the same time: one for each core."""
        return usable_cores()

    @abstractmethod
    def decoded_bytes(self, frames: int) -> int:
        """Return the size in memory of a fraction of `frames` frames, in bytes."""

    @abstractmethod
    def of_counts(self, counts: NDArray[Any], frames: int, index: int, memory: NDArray[Any] | None) -> NDArray[Any]:
        """Return a fraction in the form that is kept in memory, flat.

        Parameters
        ----------
        counts : ndarray of unsigned integers, shape (rows, columns)
            The rendered image, which may be overwritten.
        frames, index : int
            Number of frames in the fraction, and index of the fraction.
        memory : ndarray or None
            Memory of `decoded_bytes` bytes for the result. It may be the memory of `counts`.
        """

    @abstractmethod
    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Return `size` bytes of the MRC file from byte `start` of a fraction in memory (uint8, shape (n,))."""

    def copy_rows(self, decoded: NDArray[Any], first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` (uint8, shape (n,)) with the bytes of rows, starting at row `first`."""
        raw[:] = self.mrc_bytes(decoded, first * self.header.row_bytes, len(raw))


class CountPixels(FractionPixels):
    """Counts, kept in memory in the smallest type; gain and pixel type are applied when they are read."""

    def decoded_bytes(self, frames: int) -> int:
        """Return the size of the counts in bytes."""
        return self.header.ny * self.header.nx * np.min_scalar_type(frames).itemsize

    def of_counts(self, counts: NDArray[Any], frames: int, index: int, memory: NDArray[Any] | None) -> NDArray[Any]:
        """Return the counts, flat, clipped to the limits of the pixel type."""
        dtype = self.header.dtype
        if dtype.kind != "f" and frames > (largest := np.iinfo(dtype).max):
            over = counts > largest
            if count := int(np.count_nonzero(over)):
                counts[over] = largest
                self.findings.add_saturated((self.rendering, index), dtype.name, count)
        return counts.reshape(-1)

    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of the MRC file (uint8, shape (n,)): counts in the pixel type, times any gain."""
        item = self.header.dtype.itemsize
        first, end = start // item, -(-(start + size) // item)
        values = decoded[first:end].astype(self.header.dtype)
        if self.gain is not None:
            values *= self.gain.values.reshape(-1)[first:end]
        return values.view(np.uint8)[start - first * item :][:size]

    def copy_rows(self, decoded: NDArray[Any], first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` (uint8, shape (n,)), without an intermediate copy if there is no gain."""
        if self.gain is not None:
            super().copy_rows(decoded, first, raw)
            return
        values = raw.view(self.header.dtype)
        start = first * self.header.nx
        np.copyto(values, decoded[start : start + len(values)], casting="unsafe")


@dataclass(frozen=True)
class CroppedPixels(FractionPixels):
    """Counts times gain with defects filled, cropped in Fourier space, kept in memory as the bytes of the MRC file.

    Attributes
    ----------
    shape : tuple
        Rows and columns of the rendered image.
    scale : float
        Factor from electrons to pixel values.
    defects : DefectFill or None
        The gain on the rendered grid, and its defects; None to apply no gain.
    """

    shape: tuple[int, int]
    scale: float
    defects: DefectFill | None

    @property
    def at_once(self) -> int:
        """Number of fractions to render at the same time, limited by the number of cores and the memory for spectra."""
        spectrum = fourier_crop.spectrum_bytes(self.shape, self.header.shape[1:])
        return max(1, min(usable_cores(), int(usable_memory() * _SPECTRA_SHARE) // spectrum))

    def decoded_bytes(self, frames: int) -> int:
        """Return the size of a fraction in the MRC file, in bytes."""
        return self.header.frame_bytes

    def of_counts(self, counts: NDArray[Any], frames: int, index: int, memory: NDArray[Any] | None) -> NDArray[Any]:
        """Return the cropped pixels, flat: multiply with the gain, fill defects, crop and round."""
        header = self.header
        rows = _Gained(counts, self.defects) if self.defects else lambda first, end: _as_float(counts[first:end])
        pixels: NDArray[Any] | None = None
        saturated = 0
        for first, block in fourier_crop.crop(rows, self.shape, header.shape[1:]):
            if pixels is None:
                # after the first crop has read the counts, because both may use the same memory
                pixels = _memory_for(header, memory)
            if header.dtype.kind != "f":
                saturated += self._round(block)
            pixels[first : first + len(block)] = block
        assert pixels is not None
        if saturated:
            self.findings.add_saturated((self.rendering, index), header.dtype.name, saturated)
        return pixels.reshape(-1)

    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of the MRC file (uint8, shape (n,)), the form in which fractions are kept."""
        return decoded.view(np.uint8)[start : start + size]

    def _round(self, block: NDArray[np.float32]) -> int:
        """Round values to integers within the limits of the pixel type, in place; return how many exceeded them."""
        limits = np.iinfo(self.header.dtype)
        block *= np.float32(self.scale)
        np.rint(block, out=block)
        over = int(np.count_nonzero((block < limits.min) | (block > limits.max)))
        if over:
            np.clip(block, limits.min, limits.max, out=block)
        return over


class _Gained:
    """Reader of rows of counts times gain, with defects filled."""

    def __init__(self, counts: NDArray[Any], defects: DefectFill):
        self._counts = counts
        self._defects = defects
        self._filled = defects.values(counts)

    def __call__(self, first: int, end: int) -> NDArray[np.float32]:
        gain = self._defects.gain[first:end]
        rows: NDArray[np.float32] = np.multiply(self._counts[first:end], gain, dtype=np.float32)
        self._defects.fill(rows, first, self._filled)
        return rows


def _as_float(counts: NDArray[Any]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = counts.astype(np.float32)
    return values


def _memory_for(header: MrcHeader, memory: NDArray[Any] | None) -> NDArray[Any]:
    if memory is not None and memory.nbytes == header.frame_bytes:
        return memory.reshape(-1).view(np.uint8).view(header.dtype).reshape(header.ny, header.nx)
    return np.empty((header.ny, header.nx), header.dtype)
