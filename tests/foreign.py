"""TIFF movies as other programs write them: the layouts of SerialEM, EPU and RELION."""

import lzma
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.tiff_writer import ASCII, LONG, SHORT, PageForm, write_pages

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


# Layouts of strips, codecs and bits, as any program that uses libtiff may write them.
LAYOUTS = ("mixed", "without sizes", "zstd", "lzma", "packbits", "tiles", "big-endian", "four bits", "packed")
_FORMS = {
    "mixed": (PageForm(rows=40), PageForm(rows=7, compression=8, encode=zlib.compress), PageForm(rows=9)),
    "without sizes": (PageForm(without=(279,)),),
    "zstd": (PageForm(compression=50000, encode=imagecodecs.zstd_encode),),
    "lzma": (PageForm(compression=34925, encode=lzma.compress),),
    "packbits": (PageForm(compression=32773, encode=imagecodecs.packbits_encode),),
    "big-endian": (PageForm(rows=11, is_padded=True),),
    "packed": (PageForm(tags={270: (ASCII, b"SerialEMCCD: Dose fractionated image, 4 bits packed\0")}),),
}


def write_layout(path: Path, layout: str, frames: NDArray[Any]) -> Path:
    """Write frames in one of `LAYOUTS`."""
    if layout == "tiles":
        return write_tiff(path, frames, tile=(16, 32))
    if layout == "four bits":
        # an odd number of values, two in each stored byte
        return write_pages(path, frames, PageForm(tags={258: (SHORT, [4]), 256: (LONG, [2 * frames.shape[2] - 1])}))
    return write_pages(path, frames, *_FORMS[layout], order=">" if layout == "big-endian" else "<")


WRITERS = {"SerialEM": serialem, "EPU": epu, "RELION": relion}
