"""Promises of docs/semantics.md that no other test has as its subject."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.errors import DamagedError
from cryofs.formats.record import read_record
from cryofs.settings import Settings
from cryofs.vfs.filesystem import FileSystem
from tests.support import archive, simulated


@pytest.fixture
def place(tmp_path: Path) -> Path:
    simulated(tmp_path / "session" / "a.mrc", frames=20)
    archive(tmp_path / "session", tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def files(place: Path) -> Iterator[FileSystem]:
    made = FileSystem(place, Settings(jobs=1))
    made.start()
    yield made
    made.stop()


def content(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        return bytes(files.read(handle, 1 << 30, 0))
    finally:
        files.release(handle)


def test_an_archived_movie_wins_over_a_file_of_its_name(place: Path, files: FileSystem) -> None:
    (place / "a.mrc").write_bytes(b"another file")
    assert [name for name, _ in files.names("/")] == ["a.mrc"]
    assert content(files, "/a.mrc") == (place.with_name("session") / "a.mrc").read_bytes()


def test_drafts_and_references_are_hidden(place: Path, files: FileSystem) -> None:
    hidden = ["gain-reference.mrc", "gain-reference-0123abcd.mrc", ".cryofs-draft-1"]
    shown = ["a.mrc", "gain-reference-0123abcg.mrc", "gain-reference-eer.mrc"]
    for name in {*hidden, *shown} - {"a.mrc"}:
        (place / name).write_bytes(b"x")
    assert [name for name, _ in files.names("/")] == shown
    for name in hidden:
        with pytest.raises(FileNotFoundError):
            files.attributes("/" + name)


def test_what_the_archive_tells_of_a_movie(place: Path, files: FileSystem) -> None:
    stored, original = place / "a.mrc.tif", place.with_name("session") / "a.mrc"
    stored.chmod(0o600)
    found, expected = files.attributes("/a.mrc"), stored.stat()
    assert (found.ctime_ns, found.inode, found.links, found.uid, found.gid, found.blocks) == (
        expected.st_ctime_ns,
        expected.st_ino,
        expected.st_nlink,
        expected.st_uid,
        expected.st_gid,
        expected.st_blocks,
    )
    assert found.mode == original.stat().st_mode


def test_links_are_no_movies(place: Path, files: FileSystem) -> None:
    (place / "b.mrc.tif").symlink_to("a.mrc.tif")
    assert files.read_link("/b.mrc.tif") == "a.mrc.tif"
    with pytest.raises(FileNotFoundError):
        files.attributes("/b.mrc")


def test_counts_of_damaged_strips_are_not_given(place: Path, files: FileSystem) -> None:
    path = place / "a.mrc.tif"
    with path.open("r+b") as file:
        frame = read_record(file.fileno(), path.stat().st_size, "").frames[0]
        file.seek(frame.offsets[0] + 10)
        file.write(b"damaged")
    with pytest.raises(DamagedError, match="frame 0"):
        content(files, "/@counts/a.mrc")
