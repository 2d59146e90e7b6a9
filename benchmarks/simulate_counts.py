"""Simulate the sum of the raw counts of a movie, given the gain of its detector."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Standard deviation of the gain between pixels, as in real detectors.
SPREAD = 0.03
_LINES = 0.05
_EDGE = 256

Camera = Literal["K2", "K3", "EER"]
FULL_SHAPES: dict[Camera, tuple[int, int]] = {"K2": (3710, 3838), "K3": (4092, 5760), "EER": (4096, 4096)}


def make_gain(rng: np.random.Generator, shape: tuple[int, int], spread: float = SPREAD) -> NDArray[np.float32]:
    """Return a gain reference, float32, of independent pixels and of the columns and blocks that detectors share."""
    nx = shape[1]
    gain: NDArray[np.float32] = rng.normal(1, spread, shape).astype(np.float32)
    common = np.random.default_rng(0)
    gain *= common.normal(1, _LINES, nx).astype(np.float32)
    gain *= np.repeat(common.normal(1, _LINES, -(-nx // _EDGE)), _EDGE)[:nx].astype(np.float32)
    gain[_EDGE // 2 :: _EDGE] *= np.float32(1 + _LINES)
    gain[1::2, 1::2] *= np.float32(1.01)
    gain.reshape(-1)[rng.choice(gain.size, gain.size // 10000, replace=False)] = 0
    return np.maximum(gain, 0)


def sum_of_frames(
    rng: np.random.Generator, gain: NDArray[np.float32], dose: float, frames: int, camera: Camera
) -> NDArray[np.float32]:
    """Return the sum of simulated frames of a specimen, float32, with hot and dead pixels where the gain is 0.

    Parameters
    ----------
    dose : float
        Mean electrons per pixel and frame. EER frames have at most one event per pixel.
    """
    ny, nx = gain.shape
    y, x = np.ogrid[:ny, :nx]
    specimen = 1 + 0.2 * np.sin(x / 37 + 3 * np.sin(y / 91)) + 0.3 * (x / nx)
    expected = (dose * specimen / np.where(gain > 0, gain, 1)).astype(np.float32)
    counts: NDArray[np.float32]
    if camera == "EER":
        counts = rng.binomial(frames, -np.expm1(-expected)).astype(np.float32)
    else:
        counts = rng.poisson(frames * expected).astype(np.float32)
    defects = np.flatnonzero(gain == 0)
    counts.reshape(-1)[defects[::2]] = 0
    counts.reshape(-1)[defects[1::2]] = 100 * frames
    return np.asarray(counts, np.float32)
