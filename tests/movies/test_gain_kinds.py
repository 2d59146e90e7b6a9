"""Files of other kinds, passed as gain references: the error names kind and remedy before any movie is read."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.simulate import header
from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.compress.movie_task import CompressOptions
from cryofs.config.settings import Settings
from cryofs.errors import GainError
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.gain_kinds import kind_of
from cryofs.movies.gain_library import load_given
from cryofs.vfs.file_system import FileSystem
from tests.support import archive, simulated

SHAPE = (48, 64)
MRC = header((1, *SHAPE), 2) + np.ones(SHAPE, np.float32).tobytes()
KINDS = {
    "g.dm4": (b"\0\0\0\4" + bytes(60), "DM4", "dm2mrc g.dm4 g.mrc"),
    "g.dm3": (b"\0\0\0\3" + bytes(60), "DM3", "dm2mrc g.dm3 g.mrc"),
    "g.xml": (b'\xef\xbb\xbf<?xml version="1.0"?><defects/>', "list of defects", "pass the gain reference"),
    "d.xml": (b"<gain/>", "XML", "pass the gain reference"),
    "d.txt": (b"CameraSizeX 3838\n", "list of defects", "pass the gain reference"),
    "g.mrc.bz2": (bz2.compress(MRC), "bzip2", "bunzip2 --keep g.mrc.bz2"),
    "g.mrc.gz": (gzip.compress(MRC), "gzip", "gunzip --keep g.mrc.gz"),
    "g.mrc.xz": (lzma.compress(MRC), "xz", "unxz --keep g.mrc.xz"),
}


def write(folder: Path, name: str) -> tuple[Path, tuple[str, ...]]:
    """Write a file of another kind; return it and what the error must contain."""
    path = folder / name
    if name == "g.tif":
        tifffile.imwrite(path, np.ones(SHAPE, np.float32))
        return path, (str(path), "a TIFF file", "tif2mrc g.tif g.mrc")
    data, *parts = KINDS[name]
    path.write_bytes(data)
    return path, (str(path), *parts)


@pytest.mark.parametrize("name", [*KINDS, "g.tif"])
def test_the_error_names_the_kind_and_the_remedy(tmp_path: Path, name: str) -> None:
    path, parts = write(tmp_path, name)
    readers: list[Callable[[Path], object]] = [load_given]
    if name != "g.tif":
        readers.append(lambda path: EerGains().get(path, SHAPE))
    for read in readers:
        with pytest.raises(GainError) as caught:
            read(path)
        for part in parts:
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["g.dm4", "g.xml"])
def test_runs_and_mounts_fail_before_they_start(tmp_path: Path, name: str) -> None:
    path, parts = write(tmp_path, name)
    session = tmp_path / "session"
    simulated(session / "a.mrc", 3)
    write_eer(session / "b.eer", random_frames(3, SHAPE, 0.02, Widths()), SHAPE, Widths())
    (tmp_path / "mounted").mkdir()
    starts = (
        lambda: archive(session, tmp_path / "a", CompressOptions(gain=path)),
        lambda: archive(session, tmp_path / "a", CompressOptions(rendering=Rendering(gain=path))),
        lambda: FileSystem(tmp_path / "mounted", Settings(eer_gain=str(path))),
    )
    for start in starts:
        with pytest.raises(GainError) as caught:
            start()
        assert parts[0] in str(caught.value)
        assert parts[1] in str(caught.value)
        assert not list(tmp_path.glob("a/*"))


@pytest.mark.parametrize("nx", [0x3C, 0x0F3C, 0x4949, 0x0F20])
def test_sizes_that_look_like_the_start_of_another_kind(tmp_path: Path, nx: int) -> None:
    path = tmp_path / "g.mrc"
    path.write_bytes(header((1, 2, nx), 2) + np.ones((2, nx), np.float32).tobytes())
    assert kind_of(path) is None
    assert load_given(path)[0].shape == (2, nx)
