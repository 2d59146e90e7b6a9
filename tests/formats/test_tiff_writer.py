"""TIFF movies that are written: the bytes of tifffile's files, whatever the layout."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cryofs.codecs.codec import Codec
from cryofs.codecs.registry import all_encoders, codec_named, tags_of
from cryofs.formats.tiff_pages import ANGSTROM_PER_CM, PageLayout
from cryofs.formats.tiff_writer import TiffMovieWriter

DESCRIPTION, SOFTWARE = "what it is", "cryofs 1.2.3"


def strips_of(layout: PageLayout, pages: int) -> list[list[bytes]]:
    """Bytes that stand for encoded strips, of odd and even lengths."""
    rng = np.random.default_rng(layout.ny)
    return [[rng.bytes(int(rng.integers(1, 90))) for _ in range(layout.strips)] for _ in range(pages)]


def by_tifffile(layout: PageLayout, pages: list[list[bytes]], big: bool) -> tuple[bytes, list[int]]:
    file, firsts = io.BytesIO(), []
    compression, predictor = tags_of(layout.codec)
    resolution: Any = (ANGSTROM_PER_CM / layout.pixel_size,) * 2 if layout.pixel_size else None
    with tifffile.TiffWriter(file, bigtiff=big) as writer:
        for number, strips in enumerate(pages):
            writer.write(
                iter(strips),
                shape=(layout.ny, layout.nx),
                dtype=layout.dtype,
                photometric="minisblack",
                rowsperstrip=layout.rows_per_strip,
                compression=compression,
                predictor=predictor,
                resolution=resolution,
                resolutionunit="centimeter" if resolution else None,
                metadata=None,
                description=None if number else DESCRIPTION,
                software=False if number else SOFTWARE,
            )
            firsts.append(file.tell() - sum(map(len, strips)))
    return file.getvalue(), firsts


def written(layout: PageLayout, pages: list[list[bytes]], big: bool) -> tuple[bytes, list[int]]:
    with tempfile.TemporaryFile() as file:
        with TiffMovieWriter(file, layout, big=big, description=DESCRIPTION, software=SOFTWARE) as writer:
            firsts = [writer.write_page(strips) for strips in pages]
        assert file.tell() == file.seek(0, io.SEEK_END)
        file.seek(0)
        return file.read(), firsts


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("pages", [1, 2, 5])
@pytest.mark.parametrize(
    ("dtype", "shape", "rows", "codec", "pixel_size"),
    [
        ("u1", (64, 64), 64, codec_named("deflate"), None),
        ("u2", (64, 64), 64, codec_named("deflate", "horizontal"), 1.37),
        ("i1", (65, 33), 1, codec_named("lzw"), 0.83),
        ("i2", (700, 300), 256, codec_named("lzw"), 1e-3),
        ("f4", (3838, 3710), 256, codec_named("deflate", "float"), 12345.678),
        ("u1", (70000, 3), 20000, codec_named("deflate"), 0.024),
        ("u1", (3, 100_000_000), 1, codec_named("deflate"), 3.0),
        ("u1", (3, 1_000_000_000), 1, codec_named("deflate"), 3.0),
    ],
)
def test_files_are_those_of_tifffile(
    dtype: str, shape: tuple[int, int], rows: int, codec: Codec, pixel_size: float | None, pages: int, big: bool
) -> None:
    layout = PageLayout(*shape, np.dtype(dtype), codec, rows, pixel_size)
    strips = strips_of(layout, pages)
    shown = layout if pixel_size != 1e-3 else PageLayout(*shape, np.dtype(dtype), codec, rows, None)
    assert written(layout, strips, big) == by_tifffile(shown, strips, big)


@pytest.mark.parametrize("encoder", all_encoders(), ids=lambda encoder: str(encoder.name))
@pytest.mark.parametrize("big", [False, True])
def test_tifffile_reads_what_was_written(encoder: Any, big: bool, tmp_path: Path) -> None:
    dtype = np.dtype({"bytes": "u1", "wide": "u2", "float": "f4", "any": "i2"}[encoder.pixels])
    images = np.random.default_rng(0).poisson(3, (4, 50, 40)).astype(dtype)
    layout = PageLayout(50, 40, dtype, encoder.codec, 16, 1.5)
    pages = [[encoder.encode(image[top : top + 16].copy()) for top in range(0, 50, 16)] for image in images]
    path = tmp_path / "movie.tif"
    path.write_bytes(written(layout, pages, big)[0])
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 4
        for page, image in zip(tiff.pages, images, strict=True):
            assert np.array_equal(page.asarray(), image)
