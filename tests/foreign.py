"""TIFF movies as other programs write them: the layouts of SerialEM, EPU and RELION."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

PIXEL_SIZE = 0.83


def counts(
    shape: tuple[int, int, int] = (5, 48, 35), dtype: str = "uint8", mean: float = 1.4, seed: int = 0
) -> NDArray[Any]:
    """Frames of electron counts, rows as MRC has them."""
    return np.random.default_rng(seed).poisson(mean, shape).astype(dtype)


def write_tiff(path: Path, frames: NDArray[Any], **options: Any) -> Path:
    """Write frames page by page, rows from the top."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = options.pop("byteorder", "<")
    options = {"compression": "lzw", "photometric": "minisblack", "metadata": None, **options}
    with tifffile.TiffWriter(path, byteorder=order, bigtiff=options.pop("bigtiff", False)) as writer:
        for frame in frames:
            writer.write(frame[::-1], **options)
    return path


def serialem(path: Path, frames: NDArray[Any]) -> Path:
    """SerialEM: LZW strips of some rows, pixel size by the resolution in centimetres, IMOD's description."""
    resolution = {"resolution": (1e8 / PIXEL_SIZE,) * 2, "resolutionunit": "centimeter"}
    return write_tiff(path, frames, rowsperstrip=16, description="SerialEM: K3 counting", **resolution)


def epu(path: Path, frames: NDArray[Any]) -> Path:
    """EPU: BigTIFF, one deflated strip of differences a page."""
    return write_tiff(path, frames, compression="zlib", predictor=2, rowsperstrip=frames.shape[1], bigtiff=True)


def relion(path: Path, frames: NDArray[Any]) -> Path:
    """relion_convert_to_tiff: one LZW strip a page, float32 where the movie was gain-normalised."""
    return write_tiff(path, frames.astype("float32"), rowsperstrip=frames.shape[1])


WRITERS = {"SerialEM": serialem, "EPU": epu, "RELION": relion}
