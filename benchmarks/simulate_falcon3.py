"""Simulate movies of a Falcon 3 in counting mode: an electron is a blob of 3 x 3 pixels that sums to 100.

A blob is a Gaussian of 0.55 pixels, integrated over the pixels, centred in the middle pixel (in steps of 1/16), and
rounded such that its nine integers sum to 100. The width was chosen to match measured properties of such movies (0.366
electrons per pixel and frame; sizes relative to 16-bit pixels):

==================================  =========  ======
what                                simulated  wanted
==================================  =========  ======
order-0 entropy of the values          41.0 %  41.0 %
zlib, level 6                          52.3 %  52.4 %
LZW                                    61.3 %  61.4 %
deflate, Huffman codes only            52.2 %  52.2 %
==================================  =========  ======

About one pixel in a million is above 255; the largest values are near 300.
"""

import itertools
from collections.abc import Iterator
from math import erf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate import write_frames

FALCON3_SHAPE = (4096, 4096)
FALCON3_FRAMES = 75
FALCON3_MEAN = 0.366
BLOB_SUM = 100
_WIDTH = 0.55
_STEPS = 16


def blobs() -> NDArray[np.int16]:
    """Return the blobs of all sub-pixel positions, int16, shape (positions, 9)."""
    centres = (np.arange(_STEPS) + 0.5) / _STEPS - 0.5
    edges = np.arange(-1.5, 2) - centres[:, np.newaxis]
    profiles = np.diff(np.vectorize(erf)(edges / (_WIDTH * np.sqrt(2))), axis=1)
    exact = (profiles[:, np.newaxis, :, np.newaxis] * profiles[np.newaxis, :, np.newaxis, :]).reshape(-1, 9)
    exact *= BLOB_SUM / exact.sum(axis=1, keepdims=True)
    whole = np.floor(exact)
    # add the remainder to the pixels that rounding down changed most
    missing = BLOB_SUM - whole.sum(axis=1, keepdims=True)
    rank = np.argsort(np.argsort(whole - exact, axis=1), axis=1)
    values: NDArray[np.int16] = (whole + (rank < missing)).astype(np.int16)
    return values


def falcon3_frames(
    count: int, shape: tuple[int, int] = FALCON3_SHAPE, mean: float = FALCON3_MEAN, seed: int = 0
) -> Iterator[NDArray[np.int16]]:
    """Yield frames, int16, of `mean` electrons per pixel at random positions."""
    rng = np.random.default_rng(seed)
    table = np.ascontiguousarray(blobs().T)
    # blobs of electrons just outside the frame extend into it; an extra row and pixel keep them within the array
    ny, nx = shape[0] + 4, shape[1] + 2
    area = (ny - 2) * nx
    for _ in range(count):
        image = np.zeros(ny * nx + 1, np.int16)
        # gaps of a Poisson process are exponential
        places = np.cumsum(rng.standard_exponential(int(area * mean * 1.05) + 1000)) / mean
        pixels = places[: np.searchsorted(places, area)].astype(np.int64) + nx
        position = rng.integers(0, _STEPS * _STEPS, len(pixels))
        for values, (y, x) in zip(table, itertools.product((-1, 0, 1), repeat=2), strict=True):
            np.add.at(image, pixels + (y * nx + x), values[position])
        yield image[:-1].reshape(ny, nx)[2:-2, 1:-1]


def write_falcon3(
    path: Path, frames: int = FALCON3_FRAMES, shape: tuple[int, int] = FALCON3_SHAPE, seed: int = 0
) -> None:
    """Write a movie like those of a Falcon 3."""
    write_frames(path, falcon3_frames(frames, shape, seed=seed), (frames, *shape), 1)
