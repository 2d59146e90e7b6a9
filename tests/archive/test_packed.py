"""Packed sources against the archive: copies, and movies that compress unpacked from them."""

import bz2
import os
import shutil
from pathlib import Path

import pytest

from cryofs.archive.info import describe, savings
from cryofs.compress.movie_task import CompressOptions
from cryofs.movies.registry import open_movie
from cryofs.report.inventory import survey
from tests.archive.comparing import compared, entries
from tests.compress.test_unpack import packed
from tests.formats.packed_samples import WAYS
from tests.support import archive, assert_verified, names

UNPACK = CompressOptions(gain="none", jobs=2, unpack=True)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "session"
    packed(folder / "Movies" / "a.mrc")
    packed(folder / "Movies" / "b.mrc", "zstd", seed=1)
    (folder / "Movies" / "c.mrc.bz2").symlink_to("a.mrc.bz2")
    (folder / "notes.txt").write_bytes(b"300 kV")
    return folder


@pytest.mark.parametrize("unpack", [False, True])
def test_equal_sources_are_removed(session: Path, tmp_path: Path, unpack: bool) -> None:
    archive(session, tmp_path / "archive", UNPACK if unpack else CompressOptions(gain="none"))
    shown = ["Movies/a.mrc.tif", "Movies/b.mrc.tif", "Movies/c.mrc"]
    assert names(tmp_path / "archive") == (
        [*shown, "notes.txt"] if unpack else ["Movies/a.mrc.bz2", "Movies/b.mrc.zst", "Movies/c.mrc.bz2", "notes.txt"]
    )
    done, _ = compared(session, tmp_path / "archive")
    assert (done.all_equal, done.equal) == (True, 4)
    done, watcher = compared(session, tmp_path / "archive", remove_source=True)
    assert (done.all_equal, done.removed) == (True, 4)
    assert watcher.done == watcher.total
    assert entries(session) == []
    assert_verified(tmp_path / "archive", 2 * unpack, all_have_checksums=True)


def test_other_bytes_differ(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "archive", UNPACK)
    path = session / "Movies" / "a.mrc.bz2"
    before = path.stat()
    data = bytearray(bz2.decompress(path.read_bytes()))
    for change in ("bit", "longer", "shorter", "damaged"):
        other = bytearray(data)
        if change == "bit":
            other[5000] ^= 1
        contents = {"longer": data + b"x", "shorter": data[:-1]}.get(change, other)
        path.write_bytes(bz2.compress(contents)[: -20 if change == "damaged" else None])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        done, watcher = compared(session, tmp_path / "archive", remove_source=True)
        if change == "damaged":
            assert path in [one.path for one in done.failed]
        else:
            place = {"bit": 5000, "longer": len(data), "shorter": len(data) - 1}[change]
            assert f"byte {place}" in done.differing[0].reason, watcher.notes
        assert path.exists()


def test_another_packed_file_of_the_movie_is_missing(session: Path, tmp_path: Path) -> None:
    archive(session, tmp_path / "archive", UNPACK)
    shutil.copy2(session / "Movies" / "a.mrc.bz2", session / "Movies" / "a.mrc.gz")
    done, _ = compared(session, tmp_path / "archive")
    assert [one.path.name for one in done.missing] == ["a.mrc.gz"]


@pytest.mark.parametrize("way", ["bzip2", "gzip", "xz", "zstd"])
def test_info_and_open(way: str, tmp_path: Path) -> None:
    data = packed(tmp_path / "a.mrc", way)
    (path,) = tmp_path.iterdir()
    found = describe(path)
    name = {"pigz -i": "gzip"}.get(way, way)
    stored = path.stat().st_size
    assert found | {"compression": name, "stored_bytes": stored, "shape": [4, 64, 64], "dtype": "int16"} == found
    assert found["original"] == {"name": "a.mrc", "bytes": len(data), "sha256": None}
    assert found["ratio"] == stored / len(data)
    assert found["format"] == f"mrc, packed by {name}"
    with open_movie(path) as movie:
        assert movie.header + b"".join(movie.mrc_frame(k).tobytes() for k in range(4)) == data[: -len(b"trailing")]
        assert movie.frame(3).shape == (64, 64)


def test_info_of_an_unpacked_movie_names_the_packed_file(tmp_path: Path) -> None:
    packed(tmp_path / "session" / "a.mrc")
    archive(tmp_path / "session", tmp_path / "archive", UNPACK)
    found = describe(tmp_path / "archive" / "a.mrc.tif")
    stored = tmp_path / "session" / "a.mrc.bz2"
    assert found["packed"]["name"] == "a.mrc.bz2"
    assert found["packed"]["bytes"] == stored.stat().st_size
    assert len(found["packed"]["sha256"]) == 64


def test_reports_and_figures(tmp_path: Path) -> None:
    packed(tmp_path / "a.mrc", "xz")
    (tmp_path / "b.mrc.gz").write_bytes(WAYS["gzip"][1](b"no movie" * 1000))
    found = survey(tmp_path)
    assert [(one.path.name, one.kind, one.frames) for one in found.movies] == [
        ("a.mrc.xz", "MRC packed by xz, 64 \u00d7 64, int16", 4)
    ]
    assert [path.name for path, _ in found.problems] == ["b.mrc.gz"]
    assert savings([tmp_path]).movies == 0
