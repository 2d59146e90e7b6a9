"""How the counts of a fraction become pixels of the movie: as they are, or cropped in Fourier space.

Threads: the pixels of several fractions may be made at the same time.
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

# Share of the memory that the spectra of fractions may take.
_SPECTRA_SHARE = 1 / 8


@dataclass(frozen=True)
class FractionPixels(ABC):
    """Pixels of fractions.

    Attributes
    ----------
    header : MrcHeader
        Header of the movie of fractions.
    gain : EerGain or None
        The gain reference that pixels are multiplied with.
    """

    header: MrcHeader
    rendering: Rendering
    gain: EerGain | None
    findings: Findings

    @property
    def at_once(self) -> int:
        """Number of fractions to render at the same time: as many as cores, because each is rendered on one core."""
        return usable_cores()

    @abstractmethod
    def decoded_bytes(self, frames: int) -> int:
        """Return the size in bytes of a fraction of so many frames in memory."""

    @abstractmethod
    def of_counts(self, counts: NDArray[Any], frames: int, index: int, memory: NDArray[Any] | None) -> NDArray[Any]:
        """Return a fraction as it is kept in memory, flat.

        Parameters
        ----------
        counts : ndarray of unsigned integers
            The rendered image, which may be changed.
        frames, index : int
            Number of frames in the fraction, and number of the fraction.
        memory : ndarray or None
            Memory of `decoded_bytes`, which the counts may use.
        """

    @abstractmethod
    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of the MRC file from a fraction in memory."""

    def copy_rows(self, decoded: NDArray[Any], first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` with the bytes of the rows from `first` on."""
        raw[:] = self.mrc_bytes(decoded, first * self.header.row_bytes, len(raw))


class CountPixels(FractionPixels):
    """Counts, kept in memory in the smallest type; the gain is applied when they are read."""

    def decoded_bytes(self, frames: int) -> int:
        """Return the size of counts."""
        return self.header.ny * self.header.nx * np.min_scalar_type(frames).itemsize

    def of_counts(self, counts: NDArray[Any], frames: int, index: int, memory: NDArray[Any] | None) -> NDArray[Any]:
        """Clip the counts to the limits of the pixel type."""
        dtype = self.header.dtype
        if dtype.kind != "f" and frames > (largest := np.iinfo(dtype).max):
            over = counts > largest
            if count := int(np.count_nonzero(over)):
                counts[over] = largest
                self.findings.add_saturated((self.rendering, index), dtype.name, count)
        return counts.reshape(-1)

    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Widen counts to the pixel type."""
        item = self.header.dtype.itemsize
        first, end = start // item, -(-(start + size) // item)
        values = decoded[first:end].astype(self.header.dtype)
        if self.gain is not None:
            values *= self.gain.values.reshape(-1)[first:end]
        return values.view(np.uint8)[start - first * item :][:size]

    def copy_rows(self, decoded: NDArray[Any], first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` without a copy between."""
        if self.gain is not None:
            super().copy_rows(decoded, first, raw)
            return
        values = raw.view(self.header.dtype)
        start = first * self.header.nx
        np.copyto(values, decoded[start : start + len(values)], casting="unsafe")


@dataclass(frozen=True)
class CroppedPixels(FractionPixels):
    """Counts times gain without defects, cropped in Fourier space, kept in memory as they are shown.

    Attributes
    ----------
    shape : tuple
        Rows and columns of the rendered image.
    scale : float
        Factor of the pixel values.
    defects : DefectFill or None
        The gain on the rendered grid, and its defects.
    """

    shape: tuple[int, int]
    scale: float
    defects: DefectFill | None

    @property
    def at_once(self) -> int:
        """Number of fractions to render at the same time: as many as cores, unless their spectra take too much."""
        spectrum = fourier_crop.spectrum_bytes(self.shape, self.header.shape[1:])
        return max(1, min(usable_cores(), int(usable_memory() * _SPECTRA_SHARE) // spectrum))

    def decoded_bytes(self, frames: int) -> int:
        """Return the size in the MRC file."""
        return self.header.frame_bytes

    def of_counts(self, counts: NDArray[Any], frames: int, index: int, memory: NDArray[Any] | None) -> NDArray[Any]:
        """Multiply with the gain, fill defects, and crop."""
        header = self.header
        rows = _Gained(counts, self.defects) if self.defects else lambda first, end: _as_float(counts[first:end])
        pixels: NDArray[Any] | None = None
        saturated = 0
        for first, block in fourier_crop.crop(rows, self.shape, header.shape[1:]):
            if pixels is None:
                # only now, as the counts may lie in the same memory
                pixels = _memory_for(header, memory)
            if header.dtype.kind != "f":
                saturated += self._round(block)
            pixels[first : first + len(block)] = block
        assert pixels is not None
        if saturated:
            self.findings.add_saturated((self.rendering, index), header.dtype.name, saturated)
        return pixels.reshape(-1)

    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of the fraction."""
        return decoded.view(np.uint8)[start : start + size]

    def _round(self, block: NDArray[np.float32]) -> int:
        """Turn values into whole numbers within the limits of the pixel type; return how many exceeded them."""
        limits = np.iinfo(self.header.dtype)
        block *= np.float32(self.scale)
        np.rint(block, out=block)
        over = int(np.count_nonzero((block < limits.min) | (block > limits.max)))
        if over:
            np.clip(block, limits.min, limits.max, out=block)
        return over


class _Gained:
    """Rows of counts times gain, with defects filled."""

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
