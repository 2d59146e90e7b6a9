"""Simulate movies of real detectors from random numbers, for the demo, the tests and the comparisons.

`python -m benchmarks.simulate FOLDER` writes three full-size gain-normalised K2 movies.
"""

import argparse
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

K2_SHAPE = (3710, 3838)
K2_MEAN = 1.45
K2_DEFECTS = 1502
K2_FRAMES = 40
K2_COUNTS_MEAN = 0.96
K2_COUNTS_FRAMES = 48
_GAIN_NUMERATOR = 281.74
_SCALE = np.float32(1.0371)

Arithmetic = Literal["single", "double", "reciprocal", "twice"]


@dataclass(frozen=True)
class Detector:
    """A gain-normalising counting detector.

    Attributes
    ----------
    gain : ndarray of float32
        Multiplicative gain reference.
    defects : ndarray of int64
        Flat indices of defective pixels.
    arithmetic : str
        How values are computed: count x gain in float32, in double precision, by the reciprocal, or rounded twice.
    """

    gain: NDArray[np.float32]
    defects: NDArray[np.int64]
    arithmetic: Arithmetic = "single"

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        ny, nx = self.gain.shape
        return ny, nx

    @classmethod
    def make(
        cls,
        shape: tuple[int, int] = K2_SHAPE,
        defects: int = K2_DEFECTS,
        seed: int = 1,
        arithmetic: Arithmetic = "single",
    ) -> "Detector":
        """Return a detector with gains 281.74 / k for integers k near 245, as in K2 references."""
        rng = np.random.default_rng(seed)
        steps = np.clip(np.rint(rng.normal(245, 9, shape)), 214, 287).astype(np.float32)
        where = np.sort(rng.choice(steps.size, defects, replace=False))
        return cls(np.float32(_GAIN_NUMERATOR) / steps, where, arithmetic)

    def values(self, counts: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return counts multiplied by the gain, as float32, shape (ny, nx)."""
        numerator = np.float32(_GAIN_NUMERATOR)
        steps: NDArray[np.float32] = np.rint(numerator / self.gain)
        values = np.asarray(counts, np.float32)
        if self.arithmetic == "double":
            values = (values * (_GAIN_NUMERATOR / steps.astype(np.float64))).astype(np.float32)
        elif self.arithmetic == "reciprocal":
            values = values / (steps / numerator)
        elif self.arithmetic == "twice":
            values = values * self.gain * _SCALE
        else:
            values = values * self.gain
        return values

    def frames(self, count: int, mean: float = K2_MEAN, seed: int = 0) -> Iterator[NDArray[np.float32]]:
        """Yield gain-normalised float32 frames; defects contain the average of their four neighbours."""
        rng = np.random.default_rng(seed)
        for _ in range(count):
            values = self.values(rng.poisson(mean, self.gain.shape))
            padded = np.pad(values, 1)
            around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
            values.reshape(-1)[self.defects] = (around / np.float32(4)).reshape(-1)[self.defects]
            yield values


def header(
    shape: tuple[int, int, int],
    mode: int,
    *,
    byte_order: str = "<",
    extended: bytes = b"",
    kind: bytes = b"",
    step: float = 1.06,
) -> bytes:
    """Return the MRC header of a movie of `shape` (frames, ny, nx) with a pixel size of `step` angstrom."""
    frames, ny, nx = shape
    main = bytearray(1024)
    struct.pack_into(byte_order + "4i", main, 0, nx, ny, frames, mode)
    struct.pack_into(byte_order + "3i", main, 28, nx, ny, frames)
    struct.pack_into(byte_order + "6f", main, 40, nx * step, ny * step, frames * step, 90.0, 90.0, 90.0)
    struct.pack_into(byte_order + "3i", main, 64, 1, 2, 3)
    struct.pack_into(byte_order + "3f", main, 76, 0.0, -1.0, -2.0)
    struct.pack_into(byte_order + "i", main, 92, len(extended))
    main[104:108] = kind.ljust(4, b"\0")
    struct.pack_into(byte_order + "i", main, 108, 20140)
    main[208:212] = b"MAP "
    main[212:216] = b"\x44\x44\0\0" if byte_order == "<" else b"\x11\x11\0\0"
    struct.pack_into(byte_order + "f", main, 216, -1.0)
    return bytes(main) + extended


def write_movie(
    path: Path,
    detector: Detector,
    frames: int,
    *,
    mean: float = K2_MEAN,
    seed: int = 0,
    extended: bytes = b"",
    kind: bytes = b"",
) -> None:
    """Write a gain-normalised float32 movie, optionally with an extended header."""
    shape = (frames, *detector.shape)
    write_frames(path, detector.frames(frames, mean, seed), shape, 2, extended=extended, kind=kind)


def write_counts(
    path: Path,
    frames: int = K2_COUNTS_FRAMES,
    shape: tuple[int, int] = K2_SHAPE,
    *,
    mean: float = K2_COUNTS_MEAN,
    seed: int = 0,
) -> None:
    """Write an int8 movie of electron counts."""
    rng = np.random.default_rng(seed)
    images = (rng.poisson(mean, shape).astype(np.int8) for _ in range(frames))
    write_frames(path, images, (frames, *shape), 0)


def write_frames(
    path: Path,
    frames: Iterable[NDArray[np.generic]],
    shape: tuple[int, int, int],
    mode: int,
    *,
    extended: bytes = b"",
    kind: bytes = b"",
) -> None:
    """Write an MRC file: a header with `shape` and `mode`, followed by the frames."""
    with path.open("wb") as file:
        file.write(header(shape, mode, extended=extended, kind=kind))
        for values in frames:
            file.write(values.tobytes())


def main() -> None:
    """Write three movies of the size and dose of a K2 detector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--movies", type=int, default=3)
    parser.add_argument("--frames", type=int, default=K2_FRAMES)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    detector = Detector.make()
    for number in range(arguments.movies):
        write_movie(arguments.folder / f"movie-{number:03}.mrc", detector, arguments.frames, seed=100 + number)


if __name__ == "__main__":
    main()
