"""A folder against its archive: what is equal, what differs, what either side lacks."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofs.archive.pairs import Side
from cryofs.archive.same_bytes import file_difference
from cryofs.archive.shown import shown_in
from cryofs.compress.movie_task import CompressOptions
from cryofs.config.choices import LinkChoice
from cryofs.config.settings import Settings
from cryofs.errors import ArchiveError
from cryofs.formats.archive_names import foreign_name, fractions_name, is_eer_name, is_own_name
from cryofs.formats.packings import unpacked_name
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from tests.archive.comparing import compared, entries, flip_last_byte
from tests.corpus.session_tree import make_session
from tests.foreign import counts, serialem
from tests.small_session import write_integers
from tests.support import archive, listed_in, simulated


def test_all_is_equal(small: tuple[Path, Path]) -> None:
    done, watcher = compared(*small)
    assert done.all_equal
    assert done.equal == 7
    assert (watcher.notes, watcher.errors) == ([], [])
    assert watcher.done == watcher.total > 0


def test_gain_normalised_movies(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "sub" / "m.mrc", frames=4)
    archive(tmp_path / "session", tmp_path / "archive")
    # the archive's own reference and settings are not missing in the source
    (tmp_path / "archive" / "cryofs.toml").write_text("jobs = 2\n")
    done, _ = compared(tmp_path / "session", tmp_path / "archive")
    assert (done.all_equal, done.equal) == (True, 1)
    (tmp_path / "archive" / "gain-reference.mrc").unlink()
    done, watcher = compared(tmp_path / "session", tmp_path / "archive")
    assert (done.equal, len(done.failed)) == (0, 1)
    assert "gain reference" in watcher.errors[0]


def test_a_checksum_list_of_the_source_is_skipped(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / ".cryofs-sha256").write_text("of another archive")
    result, _ = compared(source, target, remove_source=True)
    assert not result.missing
    assert not result.differing
    assert (source / ".cryofs-sha256").exists()


def retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("Movies/a.mrc", flip_last_byte, "first difference at byte 13311"),
    ("notes.txt", flip_last_byte, "first difference at byte 5"),
    ("notes.txt", lambda path: path.write_text("200 kV, 1 A"), "size: expected 6 bytes, got 11"),
    ("Movies/b.mrc", lambda path: path.chmod(0o600), "mode: expected 0644, got 0600"),
    ("notes.txt", lambda path: os.utime(path, ns=(5, 5)), "got 1970-01-01T00:00:00.000000005 UTC"),
    ("empty", lambda path: path.chmod(0o700), "mode: expected 0755, got 0700"),
    ("empty/inner", lambda path: os.utime(path, ns=(5, 5)), "got 1970"),
    ("dangling", retarget, "expected a link to nowhere, got a link to elsewhere"),
    ("folder", replace_by_folder, "expected a symbolic link, got a folder"),
]


@pytest.mark.parametrize(("name", "change", "reason"), CHANGES)
def test_what_differs(small: tuple[Path, Path], name: str, change: Callable[[Path], object], reason: str) -> None:
    source, target = small
    folder = (source / name).parent
    before = folder.stat()
    change(source / name)
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    done, watcher = compared(source, target)
    assert [one.path for one in done.differing] == [source / name]
    assert reason in done.differing[0].reason
    assert watcher.notes == [f"{source / name}: differs from the archive ({done.differing[0].reason})"]
    assert (done.missing, done.failed) == ([], [])
    assert watcher.done == watcher.total


def test_what_either_side_lacks(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "new").mkdir()
    (source / "new" / "later.mrc").write_bytes(b"arriving")
    (source / "new" / "none").mkdir()
    os.mkfifo(source / "new" / "pipe")
    (source / "new" / ".cryofs-draft-left").write_bytes(b"left")
    (source / "notes.txt").unlink()
    (source / "Movies" / "b.mrc").unlink()
    shutil.rmtree(source / "empty")
    done, _ = compared(source, target)
    found = {(str(one.path.relative_to(source.parent)), one.side) for one in done.missing}
    assert found == {
        ("session/new/later.mrc", Side.ARCHIVE),
        ("session/new/none", Side.ARCHIVE),
        ("session/new/pipe", Side.ARCHIVE),
        ("session/new/.cryofs-draft-left", Side.ARCHIVE),
        ("archive/notes.txt", Side.SOURCE),
        ("archive/Movies/b.mrc.tif", Side.SOURCE),
        ("archive/empty/inner", Side.SOURCE),
    }
    assert not done.all_equal


def test_a_damaged_movie_is_an_error_and_the_others_are_compared(small: tuple[Path, Path]) -> None:
    source, target = small
    damaged = target / "Movies" / "a.mrc.tif"
    data = bytearray(damaged.read_bytes())
    data[2000] ^= 1
    damaged.write_bytes(data)
    done, watcher = compared(source, target)
    assert (done.equal, len(done.failed), done.differing) == (6, 1, [])
    assert str(damaged) in watcher.errors[0]


def test_a_movie_without_its_record_is_an_error(small: tuple[Path, Path]) -> None:
    source, target = small
    damaged = target / "Movies" / "a.mrc.tif"
    os.truncate(damaged, damaged.stat().st_size - 20)
    done, _ = compared(source, target)
    assert (done.equal, len(done.failed), done.missing) == (6, 1, [])


def test_a_file_behind_a_link_that_the_archive_holds(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    write_integers(source / "m.mrc")
    archive(source, target, CompressOptions(gain="none", jobs=1))
    (source / "m.mrc").rename(tmp_path / "raw.mrc")
    (source / "m.mrc").symlink_to(tmp_path / "raw.mrc")
    assert compared(source, target)[0].equal == 1
    flip_last_byte(tmp_path / "raw.mrc")
    assert len(compared(source, target)[0].differing) == 1


def test_names_that_a_mount_derives_are_not_missing(tmp_path: Path) -> None:
    source = tmp_path / "session"
    serialem(source / "x.tif", counts())
    (source / "y.eer").write_bytes(b"not read")
    archive(source, tmp_path / "archive")
    assert compared(source, tmp_path / "archive")[0].equal == 2
    # a rendering is not an original
    (source / "x.mrc").write_bytes(b"not archived")
    done, _ = compared(source, tmp_path / "archive")
    assert [(one.path, one.side) for one in done.missing] == [(source / "x.mrc", Side.ARCHIVE)]


def test_a_gain_reference_of_another_program(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    serialem(source / "x.tif", counts())
    archive(source, target)
    for folder in (source, target):
        (folder / "gain-reference.mrc").write_bytes(b"of another program")
        os.utime(folder / "gain-reference.mrc", ns=(3, 3))
    assert compared(source, target)[0].equal == 2
    # a mount hides that of cryofs
    (target / "gain-reference.mrc").write_bytes(bytes(224) + b"cryofs gain reference")
    done, _ = compared(source, target)
    assert [(one.path, one.side) for one in done.missing] == [(source / "gain-reference.mrc", Side.ARCHIVE)]


def test_a_movie_that_was_renamed_in_the_archive(small: tuple[Path, Path]) -> None:
    source, target = small
    (target / "Movies" / "a.mrc.tif").rename(target / "Movies" / "a.tif")
    before = (source / "Movies").stat()
    os.utime(target / "Movies", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert compared(source, target)[0].all_equal


def names_in_mount(folder: Path, below: str) -> set[str]:
    """Names that a mount shows in a folder."""
    files = FileSystem(folder, Settings(jobs=1))
    files.start()
    try:
        return {name for name, _ in listed_in(files, below or "/") if not is_own_name(name)}
    finally:
        files.stop()


def test_names_are_those_of_a_mount(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive(make_session(tmp_path / "session"), target, CompressOptions(gain="none", jobs=2))
    (target / ".cryofs-journal").write_bytes(b"")
    folders = [path for path in target.rglob("*") if path.is_dir() and not path.is_symlink()]
    for folder in (target, *folders):
        shown = names_in_mount(target, f"/{folder.relative_to(target)}".removesuffix("/."))
        own = set(shown_in(folder, target))
        derived = (
            {fractions_name(name) for name in own if is_eer_name(name)}
            | set(map(foreign_name, own))
            | set(map(unpacked_name, own))
        )
        assert own <= shown, folder
        assert shown - own <= derived, folder


@pytest.mark.parametrize("links", ["report", "follow", "keep"])
def test_the_session_of_all_tests(tmp_path: Path, links: LinkChoice) -> None:
    source, target = make_session(tmp_path / "session"), tmp_path / "archive"
    _, reported = archive(source, target, CompressOptions(jobs=2, links=links))
    done, _ = compared(source, target)
    # what compress could not store is missing, and nothing else
    assert {one.path for one in done.missing} == set(reported.errors)
    assert (done.differing, done.failed) == ([], [])
    assert done.links_outside == (0 if links == "follow" else 4)


def test_the_session_of_all_tests_is_removed(tmp_path: Path) -> None:
    source, target = make_session(tmp_path / "session"), tmp_path / "archive"
    outside = entries(tmp_path / "session-outside")
    archive(source, target, CompressOptions(jobs=2))
    done, watcher = compared(source, target, remove_source=True)
    assert (watcher.notes, watcher.errors) == ([], [])
    assert (done.all_equal, entries(source)) == (True, [])
    assert entries(tmp_path / "session-outside") == outside


@pytest.mark.parametrize("inside", ["archive", "source", "same"])
def test_folders_that_overlap_are_refused(tmp_path: Path, inside: str) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "link").symlink_to("one/two")
    outer, inner = tmp_path / "one", tmp_path / "link"
    one, other = {"archive": (outer, inner), "source": (inner, outer), "same": (inner, outer / "two")}[inside]
    with pytest.raises(ArchiveError, match="overlap"):
        compared(one, other)


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_not_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    for pair in ((tmp_path, tmp_path / name), (tmp_path / name, tmp_path)):
        with pytest.raises(ArchiveError, match=name):
            compared(*pair)


@settings(max_examples=60, deadline=None)
@given(one=st.binary(max_size=300), other=st.binary(max_size=300), equal=st.booleans())
def test_the_first_difference_of_any_two_files(
    tmp_path_factory: pytest.TempPathFactory, one: bytes, other: bytes, equal: bool
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    other = one if equal else other
    (folder / "one").write_bytes(one)
    (folder / "other").write_bytes(other)
    with LocalFile.open(folder / "one") as here, LocalFile.open(folder / "other") as there:
        found = file_difference(here, there)
    expected = next(
        (at for at, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other))
    )
    assert found == (None if one == other else expected)
