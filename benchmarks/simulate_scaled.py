"""Simulate gain-normalised movies that are saved as scaled integers, as SerialEM and EPU do.

`python -m benchmarks.simulate_scaled FOLDER` writes a full-size movie, and its counts alone as int8.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate import K2_MEAN, Detector, write_frames

SCALED_FRAMES = 20
SCALED_MEAN = 1.0
SCALE = 100.0

Rounding = Literal["even", "up", "down"]


@dataclass(frozen=True)
class ScaledDetector:
    """A detector whose camera software saves round(count x gain x scale).

    Attributes
    ----------
    dtype : str
        ``"i2"`` or ``"u2"``.
    rounding : str
        To the nearest integer, with ties to even or up, or down.
    """

    detector: Detector
    scale: float = SCALE
    dtype: str = "i2"
    rounding: Rounding = "even"

    def frames(
        self, count: int, mean: float = K2_MEAN, seed: int = 0
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.uint8]]]:
        """Yield frames of values, and their counts."""
        top = np.iinfo(self.dtype).max
        for values in self.detector.frames(count, mean, seed):
            products = values.astype(np.float64) * self.scale
            if self.rounding == "even":
                whole = np.rint(products)
            else:
                whole = np.floor(products + (0.5 if self.rounding == "up" else 0))
            counts = np.rint(values / self.detector.gain)
            yield np.minimum(whole, top).astype(self.dtype), counts.astype(np.uint8)

    def write(self, path: Path, frames: int = SCALED_FRAMES, *, mean: float = SCALED_MEAN, seed: int = 0) -> None:
        """Write a movie."""
        images = (values for values, _ in self.frames(frames, mean, seed))
        write_frames(path, images, (frames, *self.detector.shape), 1 if self.dtype == "i2" else 6)

    def write_counts(
        self, path: Path, frames: int = SCALED_FRAMES, *, mean: float = SCALED_MEAN, seed: int = 0
    ) -> None:
        """Write the counts of the same movie as int8."""
        images = (counts.astype(np.int8) for _, counts in self.frames(frames, mean, seed))
        write_frames(path, images, (frames, *self.detector.shape), 0)


def main() -> None:
    """Write a movie of the size of a K2 detector and its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=SCALED_FRAMES)
    parser.add_argument("--mean", type=float, default=SCALED_MEAN)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    camera = ScaledDetector(Detector.make())
    camera.write(arguments.folder / "scaled.mrc", arguments.frames, mean=arguments.mean)
    camera.write_counts(arguments.folder / "counts.mrc", arguments.frames, mean=arguments.mean)


if __name__ == "__main__":
    main()
