"""TIFF movies of every layout that libtiff writes: the pixels that RELION reads, or else those of tifffile."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import cryofs
from tests.foreign import counts, write_tiff
from tests.tiff_writer import SHORT, PageForm, write_pages

needs_libtiff = pytest.mark.skipif(shutil.which("tiffcp") is None, reason="needs libtiff-tools")
pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_image_handler") is None, reason="needs relion"),
]
FRAMES = counts((2, 30, 41), mean=60)
OPTIONS = {"strips": "-r 7", "big-endian": "-B", "lowest bit first": "-f lsb2msb", "BigTIFF": "-8"}


def of_relion(path: Path, index: int) -> NDArray[Any]:
    """Return a frame as RELION reads it, rows as MRC has them."""
    out = path.with_suffix(".out.mrc")
    command = ["relion_image_handler", "--i", f"{index + 1}@{path.name}", "--o", out.name]
    subprocess.run(command, cwd=path.parent, capture_output=True, check=True)
    with mrcfile.open(out, permissive=True) as found:
        return np.array(found.data)


def assert_as_relion(path: Path) -> None:
    with cryofs.open(path) as movie:
        for index, frame in enumerate(movie.frames()):
            assert np.array_equal(frame, of_relion(path, index))


@needs_libtiff
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("codec", ["none", "packbits", "lzw:2", "zip:2", "lzma", "zstd:2"])
def test_what_libtiff_writes(tmp_path: Path, codec: str, options: str) -> None:
    source = write_tiff(tmp_path / "source.tif", FRAMES.astype("u2"), compression=None)
    path = tmp_path / "x.tif"
    subprocess.run(["tiffcp", "-c", codec, *OPTIONS[options].split(), source, path], check=True)
    assert_as_relion(path)


@needs_libtiff
@pytest.mark.parametrize("codec", ["none", "packbits", "lzw:2", "zip", "lzma", "zstd:2"])
def test_tiles_that_libtiff_writes(tmp_path: Path, codec: str) -> None:
    """RELION does not read tiles."""
    source = write_tiff(tmp_path / "source.tif", FRAMES.astype("f4"), compression=None)
    path = tmp_path / "x.tif"
    subprocess.run(["tiffcp", "-c", codec, "-t", "-w", "32", "-l", "16", source, path], check=True)
    with cryofs.open(path) as movie:
        assert np.array_equal(np.stack(list(movie.frames())), tifffile.imread(path)[:, ::-1])


@pytest.mark.parametrize(
    "form",
    [
        PageForm(rows=30, without=(279,)),
        PageForm(rows=30, sizes=lambda _: [0]),
        PageForm(rows=30, sizes=lambda _: [100]),
        PageForm(rows=8, is_padded=True),
        PageForm(without=(262, 277, 259)),
        PageForm(tags={317: (SHORT, [2])}),
    ],
)
def test_tags_that_libtiff_corrects(tmp_path: Path, form: PageForm) -> None:
    assert_as_relion(write_pages(tmp_path / "x.tif", FRAMES, form))


@pytest.mark.parametrize(("nx", "ny"), [(3838, 7420), (7676, 3710), (5760, 8184)])
def test_sizes_of_two_values_a_byte(tmp_path: Path, nx: int, ny: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (ny, nx), dtype=np.uint8)
    path = write_pages(tmp_path / "x.tif", [frame, frame], PageForm(rows=ny))
    with cryofs.open(path) as movie:
        assert np.array_equal(movie.frame(0), of_relion(path, 0))
