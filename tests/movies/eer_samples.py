"""Frames of an EER movie, their sums by the plain decoder, and gain references."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.simulate import header
from benchmarks.simulate_eer import Widths, random_frames
from cryofs.movies.eer import EerMovie
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from tests import plain_eer

SHAPE = (48, 64)
FALCON = Widths()
FRAMES = list(random_frames(11, SHAPE, 0.05, FALCON))
PLAIN = [plain_eer.decode(frame, SHAPE[0] * SHAPE[1], FALCON) or [] for frame in FRAMES]


def plain_sum(frames: range | list[int], upsampling: int = 1) -> NDArray[np.int64]:
    images = [plain_eer.image(PLAIN[frame], SHAPE, upsampling, FALCON) for frame in frames]
    total: NDArray[np.int64] = np.stack(images).sum(axis=0, dtype=np.int64)
    return total


def opened(path: Path, **choices: object) -> EerMovie:
    return EerMovie(path, Rendering(**choices), EerGains())  # type: ignore[arg-type]


def gain_values(shape: tuple[int, int]) -> NDArray[np.float32]:
    gain = np.random.default_rng(1).uniform(0.5, 2, shape).astype(np.float32)
    gain[10, 20:22] = 0
    return gain


def write_gain(folder: Path, kind: str, gain: NDArray[np.float32]) -> Path:
    path = folder / f"falcon.{kind}"
    if kind == "gain":
        tifffile.imwrite(path, gain)
    else:
        path.write_bytes(header((1, *gain.shape), 2) + gain.tobytes())
    return path
