"""Every row of the table of writing is measured, and nothing is left behind."""

from pathlib import Path

import pytest

from benchmarks.compare_writing import COMPRESS, DISK, write, write_tree
from benchmarks.competitors import OURS
from benchmarks.reading_peers import Session
from benchmarks.simulate import Detector, write_movie
from tests.privileges import CAN_USE_FUSE

FILES = 20


def test_trees_have_different_small_files(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", 150)
    files = [path for path in sorted((tmp_path / "tree").rglob("*")) if path.is_file()]
    assert len({path.read_bytes() for path in files}) == len(files) == 150
    assert len(list((tmp_path / "tree").iterdir())) == 2
    assert {path.stat().st_size for path in files} == {4096}


@pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
@pytest.mark.mounted
@pytest.mark.slow
def test_every_row_is_measured(tmp_path: Path) -> None:
    write_movie(tmp_path / "movie.mrc", Detector.make((512, 480), 20), 4)
    readings = write(Session(tmp_path, ["movie.mrc"]), FILES, 1)
    ways = {reading.what: set[str]() for reading in readings}
    for reading in readings:
        ways[reading.what].add(reading.way)
        assert reading.median > 0
    assert list(ways.values()) == 5 * [{OURS, DISK}] + 2 * [{OURS, COMPRESS}]
    assert f"cp -r of {FILES} files, close=durable" in ways
    assert not (tmp_path / "writing").exists()
