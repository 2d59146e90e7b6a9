"""Promises of docs/semantics.md that no other test has as its subject."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cryofs.config.settings import Settings
from cryofs.errors import DamagedError
from cryofs.formats.record import read_record
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from tests.corpus.record_mutants import with_record
from tests.foreign import counts, serialem
from tests.outcomes import adopted
from tests.privileges import IS_ROOT
from tests.support import archive, listed_in, simulated
from tests.vfs.serving import started, write_movie

# a file that was read in the future is not marked as read today
READ, MODIFIED = 2 * 10**18 + 1, 10**18 + 7


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with simulated(tmp_path / "session" / "a.mrc", frames=20).open("ab") as file:
        file.write(b"behind the last frame")
    os.utime(tmp_path / "session" / "a.mrc", ns=(READ, MODIFIED))
    archive(tmp_path / "session", tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def files(place: Path) -> Iterator[FileSystem]:
    with started(FileSystem(place, Settings(jobs=1))) as made:
        yield made


def content(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        return bytes(files.read(handle, 1 << 30, 0))
    finally:
        files.release(handle)


def test_an_archived_movie_wins_over_a_copy_of_its_original(place: Path, files: FileSystem) -> None:
    original = place.with_name("session") / "a.mrc"
    shutil.copy2(original, place / "a.mrc")
    assert [name for name, _ in listed_in(files, "/")] == ["a.mrc"]
    assert content(files, "/a.mrc") == original.read_bytes()


def test_drafts_and_references_are_hidden(place: Path, files: FileSystem) -> None:
    """And with the drafts of EER and TIFF movies what is made of such movies."""
    hidden = ["gain-reference.mrc", "gain-reference-0123abcd.mrc", ".cryofs-draft-1"]
    write_movie(place / ".cryofs-draft-2.eer")
    serialem(place / ".cryofs-draft-3.tif", counts())
    shown = ["a.mrc", "gain-reference-0123abcg.mrc", "gain-reference-eer.mrc"]
    for name in {*hidden, *shown} - {"a.mrc"}:
        (place / name).write_bytes(bytes(224) + b"cryofs gain reference")
    assert [name for name, _ in listed_in(files, "/")] == shown
    for name in (*hidden, ".cryofs-draft-2.eer", ".cryofs-draft-2.mrc", ".cryofs-draft-3.tif", ".cryofs-draft-3.mrc"):
        with pytest.raises(FileNotFoundError):
            files.attributes("/" + name)


def test_facts_of_a_movie_in_the_archive(place: Path, files: FileSystem) -> None:
    stored, original = place / "a.mrc.tif", place.with_name("session") / "a.mrc"
    stored.chmod(0o600)
    found, expected = files.attributes("/a.mrc"), stored.stat()
    assert (found.ctime_ns, found.links, found.uid, found.gid, found.blocks) == (
        expected.st_ctime_ns,
        1,
        expected.st_uid,
        expected.st_gid,
        expected.st_blocks,
    )
    assert (found.mode, found.mtime_ns, found.atime_ns) == (original.stat().st_mode, MODIFIED, READ)


def test_links_are_not_movies(place: Path, files: FileSystem) -> None:
    (place / "b.mrc.tif").symlink_to("a.mrc.tif")
    assert files.read_link("/b.mrc.tif") == "a.mrc.tif"
    with pytest.raises(FileNotFoundError):
        files.attributes("/b.mrc")


def test_counts_of_damaged_strips_are_not_given(place: Path, files: FileSystem) -> None:
    path = place / "a.mrc.tif"
    with path.open("r+b") as file:
        frame = read_record(LocalFile(file.fileno(), "", is_owned=False)).frames[0]
        file.seek(frame.offsets[0] + 10)
        file.write(b"damaged")
    with pytest.raises(DamagedError, match="frame 0"):
        content(files, "/@counts/a.mrc")


def with_other_sums(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """What is stored stays as it is, and decodes; only sums of the record, its own aside, are others."""
    path.write_bytes(with_record(path.read_bytes(), change))


def test_counts_are_compared_with_the_checksums_of_their_strips(place: Path, files: FileSystem) -> None:
    with_other_sums(place / "a.mrc.tif", lambda plain: plain["frames"][1]["strip_sums"].__setitem__(0, "0" * 32))
    handle = files.open("/@counts/a.mrc")
    frame = 2 * 300 * 257
    assert len(files.read(handle, frame, 1024)) == frame
    with pytest.raises(DamagedError, match="frame 1: damaged"):
        files.read(handle, 10, 1024 + frame)
    files.release(handle)


def test_frames_are_compared_with_their_checksums(place: Path, files: FileSystem) -> None:
    foreign = serialem(place / "b.tif", counts())
    assert adopted(foreign)[0].movies == 1
    for path, name, frame in ((place / "a.mrc.tif", "a.mrc", 4 * 300 * 257), (foreign, "b.mrc", 2 * 48 * 35)):
        with_other_sums(path, lambda plain: plain["frames"][1].update(sum="0" * 32))
        handle = files.open(f"/{name}")
        for index in (0, 2):
            assert len(files.read(handle, frame, 1024 + index * frame)) == frame
        with pytest.raises(DamagedError, match="frame 1: damaged"):
            files.read(handle, 10, 1024 + frame)
        files.release(handle)


@pytest.mark.parametrize(
    ("part", "offset"), [("header", 0), ("trailing", 1024 + 20 * 4 * 300 * 257), ("exceptions", 1024)]
)
def test_blobs_are_compared_with_their_checksums(place: Path, files: FileSystem, part: str, offset: int) -> None:
    def change(plain: dict[str, Any]) -> None:
        blobs = {
            "header": plain["header"],
            "trailing": plain["trailing"][0],
            "exceptions": plain["frames"][0]["exceptions"]["blob"],
        }
        blobs[part]["sum"] = "0" * 32

    with_other_sums(place / "a.mrc.tif", change)
    handle = files.open("/a.mrc")
    with pytest.raises(DamagedError, match=r"a\.mrc"):
        files.read(handle, 10, offset)
    files.release(handle)


@pytest.mark.skipif(not IS_ROOT, reason="acts as another user")
def test_the_user_who_mounted_may_not_read_what_all_others_may(place: Path, files: FileSystem) -> None:
    (place / "a.mrc.tif").chmod(0o600)
    assert files.attributes("/a.mrc").mode & 0o444 == 0o444
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError) as caught:
            files.open("/a.mrc")
    finally:
        os.seteuid(0)
    assert caught.value.errno == errno.EACCES
