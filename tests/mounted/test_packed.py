"""Packed movies through a real mount: their bytes are those that the programs unpack, at any offset."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulate import header
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import cryofs, mounted

pytestmark = NEEDS_MOUNTS
SHAPE = (6, 700, 600)
COMMANDS = {
    "bzip2.mrc.bz2": "bzip2 -c {movie}",
    "streams.mrc.bz2": "head -c 2000000 {movie} | bzip2 -1; tail -c +2000001 {movie} | bzip2",
    "gzip.mrcs.gz": "gzip -c {movie}",
    "members.mrc.gz": "head -c 999 {movie} | gzip -1; tail -c +1000 {movie} | gzip",
    "xz.mrc.xz": "xz -0 -c {movie}",
    "blocks.mrc.xz": "xz -0 -T2 --block-size=900000 -c {movie}",
    "zstd.mrc.zst": "zstd -q -c {movie}",
    "frames.mrc.zst": "head -c 3000000 {movie} | zstd -q; tail -c +3000001 {movie} | zstd -q",
}
PROGRAMS = {".bz2": "bzip2", ".gz": "gzip", ".xz": "xz", ".zst": "zstd"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packed")
    values = np.random.default_rng(1).poisson(0.8, SHAPE).astype("<i2")
    movie = place / "movie"
    movie.write_bytes(header(SHAPE, 1) + values.tobytes() + b"bytes after the last frame")
    (place / "archive").mkdir()
    for name, command in COMMANDS.items():
        packing = command.format(movie=movie)
        with (place / "archive" / name).open("wb") as file:
            subprocess.run(["bash", "-o", "pipefail", "-c", packing], check=True, stdout=file)
    return place / "archive"


@pytest.fixture(scope="module")
def unpacked(folder: Path) -> dict[str, bytes]:
    """What the programs unpack, by the name in the mount."""
    return {
        path.stem: subprocess.run([PROGRAMS[path.suffix], "-dc", path], check=True, capture_output=True).stdout
        for path in folder.iterdir()
    }


@pytest.fixture(scope="module")
def mount(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(folder, tmp_path_factory.mktemp("packed") / "mnt") as shown:
        yield shown


def test_whole_files(folder: Path, mount: Path, unpacked: dict[str, bytes]) -> None:
    assert sorted(os.listdir(mount)) == sorted([*unpacked, *COMMANDS])
    for name, data in unpacked.items():
        found = (mount / name).stat()
        assert found.st_size == len(data), name
        assert (mount / name).read_bytes() == data, name
        (packed,) = folder.glob(f"{name}.*")
        assert found.st_mtime_ns == packed.stat().st_mtime_ns


_PLACES = st.tuples(st.integers(0, 5_100_000), st.integers(0, 400_000))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(COMMANDS)), st.lists(_PLACES, min_size=1, max_size=8))
def test_any_offset(mount: Path, unpacked: dict[str, bytes], packed: str, places: list[tuple[int, int]]) -> None:
    name = Path(packed).stem
    descriptor = os.open(mount / name, os.O_RDONLY)
    try:
        # the kernel drops its pages, so that the mount is asked
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        for offset, size in places:
            assert os.pread(descriptor, size, offset) == unpacked[name][offset : offset + size]
    finally:
        os.close(descriptor)


def test_the_index_serves_the_next_mount(folder: Path, mount: Path, unpacked: dict[str, bytes], tmp_path: Path) -> None:
    for name in unpacked:
        (mount / name).read_bytes()
    with mounted(folder, tmp_path / "mnt") as again:
        for name, data in unpacked.items():
            with (again / name).open("rb") as file:
                file.seek(len(data) - 50)
                assert file.read() == data[-50:]
        log = (tmp_path / "mnt.log").read_text()
    assert "unpacked once" not in log


def test_commands_on_packed_files(folder: Path, mount: Path, tmp_path: Path) -> None:
    packed = folder / "bzip2.mrc.bz2"
    assert "bzip2" in cryofs("info", packed).stdout
    for source in (packed, mount / "bzip2.mrc"):
        cryofs("preview", source, "-o", tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 10_000
        (tmp_path / "picture.png").unlink()
    cryofs("report", folder, "-o", tmp_path / "report.html")
    assert "packed by bzip2" in (tmp_path / "report.html").read_text()
