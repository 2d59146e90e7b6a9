"""EER and TIFF files that programs write through a mount get their derived movies at once."""

import contextlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.mounted.support import NEEDS_MOUNTS
from tests.support import mounted
from tests.vfs.serving import write_movie

pytestmark = NEEDS_MOUNTS
OPTIONS = ("-o", "writable,settle=0,ingest_jobs=1,eer_grouping=5")


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "source"
    pages = np.random.default_rng(0).poisson(1, (4, 64, 80)).astype(np.uint8)
    eer = write_movie(folder / "a.eer")
    tifffile.imwrite(folder / "b.tif", pages, photometric="minisblack")
    return [eer, folder / "b.tif"]


@pytest.fixture
def expected(tmp_path: Path, sources: list[Path]) -> dict[str, bytes]:
    """What a mount shows of the same files if they were there before."""
    with mounted(sources[0].parent, tmp_path / "first", "-o", "eer_grouping=5") as mount:
        return {path.stem: (mount / f"{path.stem}.mrc").read_bytes() for path in sources}


def test_written_eer_and_tiff_files_have_their_movies_at_once(
    tmp_path: Path, sources: list[Path], expected: dict[str, bytes]
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    with mounted(archive, tmp_path / "mnt", *OPTIONS) as mount:
        for source in sources:
            for copy in (["cp"], ["rsync"], ["dd", "bs=1000"]):
                kept, shown = f"{copy[0]}-{source.name}", mount / f"{copy[0]}-{source.stem}.mrc"
                paths = [source, mount / kept] if copy[0] != "dd" else [f"if={source}", f"of={mount / kept}"]
                subprocess.run([*copy, *map(str, paths)], check=True, stderr=subprocess.DEVNULL)
                assert shown.name in os.listdir(mount)
                assert shown.stat().st_size == len(expected[source.stem])
                assert shown.read_bytes() == expected[source.stem]
        stored = sorted(path.name for path in archive.glob("[a-z]*"))
        assert stored == sorted(f"{name}-{source.name}" for name in ("cp", "rsync", "dd") for source in sources)


def test_a_reader_that_came_too_early_is_not_misled(
    tmp_path: Path, sources: list[Path], expected: dict[str, bytes]
) -> None:
    (archive := tmp_path / "archive").mkdir()
    with mounted(archive, tmp_path / "mnt", *OPTIONS) as mount:
        for source in sources:
            shown, data = mount / f"{source.stem}.mrc", source.read_bytes()
            assert not shown.exists()
            with (mount / source.name).open("wb", buffering=0) as writer:
                for begin in range(0, len(data), len(data) // 5):
                    writer.write(data[begin : begin + len(data) // 5])
                    with contextlib.suppress(OSError):
                        shown.read_bytes()
                    os.listdir(mount)
            assert shown.read_bytes() == expected[source.stem]
