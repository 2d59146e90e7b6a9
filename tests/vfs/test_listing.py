"""Listings in groups: every name once, attributes only where a lookup returns the same, the latest state."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cryofs.config.settings import Settings
from cryofs.errors import CryofsError
from cryofs.vfs import listing
from cryofs.vfs.attributes import Ownership
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.page_cache_policy import Pages
from tests.damaged_tree import DamagedTree, make_damaged_tree
from tests.support import archive, entries, simulated

VIEWS = ("", "/@counts", "/@normalised", "/@archive", "/@up2_gr8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> DamagedTree:
    return make_damaged_tree(tmp_path_factory.mktemp("damaged"))


@pytest.fixture
def movies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of one folder: 40 movies, which are copies of two, and a text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(2):
        simulated(tmp_path / "session" / f"{number}.mrc", frames=2 + number, seed=number)
    archive(tmp_path / "session", tmp_path / "archive")
    for number in range(2, 40):
        stored = tmp_path / "archive" / f"{number % 2}.mrc.tif"
        shutil.copy(stored, stored.with_name(f"{number}.mrc.tif"))
    (tmp_path / "archive" / "notes.txt").write_text("300 kV")
    return tmp_path / "archive"


@contextmanager
def serving(folder: Path, ownership: Ownership | None = None) -> Iterator[FileSystem]:
    """A file system without background reading."""
    files = FileSystem(folder, Settings(jobs=1), ownership or Ownership())
    try:
        yield files
    finally:
        files._root.close()


@pytest.mark.parametrize("view", VIEWS)
def test_attributes_are_those_of_a_lookup(tree: DamagedTree, view: str) -> None:
    with serving(tree.folder, Ownership(uid=7, umask=0o077)) as files:
        for folder in (view, f"{view}/Movies"):
            # following a link moves its atime, the first time
            entries(files, folder or "/")
            found = entries(files, folder or "/")
            assert len({entry.name for entry in found}) == len(found)
            for entry in found:
                try:
                    expected = files.attributes(f"{folder}/{entry.name}")
                except (CryofsError, OSError):
                    assert not entry.is_complete
                    continue
                if entry.is_complete:
                    assert entry.attributes == expected, entry.name
                same = (entry.attributes.inode, stat.S_IFMT(entry.attributes.mode))
                assert same == (expected.inode, stat.S_IFMT(expected.mode)), entry.name


def test_damaged_movies_carry_no_attributes(tree: DamagedTree) -> None:
    with serving(tree.folder) as files:
        complete = {f"Movies/{entry.name}" for entry in entries(files, "/Movies") if entry.is_complete}
    listed = {name for name in (*tree.readable, *tree.listed) if name.startswith("Movies/")}
    # the size of a packed movie is unknown until it was unpacked, and listings do not wait for that
    assert listed - {"Movies/packed_text.mrc"} <= complete
    assert not complete & {"Movies/cut.mrc", "Movies/record.mrc"}


@pytest.mark.parametrize("group", [1, 2, 5])
def test_a_listing_resumes_at_every_position(tree: DamagedTree, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(listing, "_FIRST_GROUP", group)
    monkeypatch.setattr(listing, "_LARGEST_GROUP", group)
    with serving(tree.folder) as files:
        every = entries(files, "/Movies")
        opened = files.listing("/Movies")
        assert [entry.name for entry in files.listed(opened, 0)[:2]] == [".", ".."]
        for number, entry in enumerate(every):
            position = entry.next
            rest = []
            while found := files.listed(opened, position):
                rest += [one.name for one in found]
                position = found[-1].next
            assert rest == [one.name for one in every[number + 1 :]]


def test_groups_are_as_large_as_what_the_reader_takes(movies: Path) -> None:
    with serving(movies) as files:
        opened = files.listing("/")
        first = files.listed(opened, 0)
        second = files.listed(opened, first[4].next)
        assert len(second) < len(first)
        assert second[0].name == first[5].name


def test_files_are_listed_in_their_latest_state(movies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_FIRST_GROUP", 4)
    monkeypatch.setattr(listing, "_LARGEST_GROUP", 4)
    with serving(movies) as files:
        before = {entry.name: entry for entry in entries(files, "/")}
        opened = files.listing("/")
        found = list(files.listed(opened, 0))
        (movies / "8.mrc.tif").unlink()
        (movies / "9.mrc.tif").write_bytes((movies / "0.mrc.tif").read_bytes())
        (movies / "7.mrc.tif").write_bytes(b"")
        (movies / "new.mrc.tif").write_bytes((movies / "0.mrc.tif").read_bytes())
        while group := files.listed(opened, found[-1].next):
            found += group
        after = {entry.name: entry for entry in found}
        assert "8.mrc" not in after
        assert after["9.mrc"].attributes.size == before["0.mrc"].attributes.size != before["9.mrc"].attributes.size
        assert "7.mrc.tif" in after
        assert "7.mrc" not in after
        # the names are those at the beginning, until the reader begins anew
        assert "new.mrc" not in after
        assert "new.mrc" in {entry.name for entry in entries(files, "/")}


def test_a_name_with_several_files_is_listed_once_as_found(movies: Path) -> None:
    (movies / "3.mrc").write_bytes(b"stored beside the archived movie")
    (movies / "notes.mrc").write_bytes(b"a plain file")
    with serving(movies) as files:
        found = [entry for entry in entries(files, "/") if entry.name in ("3.mrc", "notes.mrc")]
        assert [entry.name for entry in found] == ["3.mrc", "notes.mrc"]
        assert [entry.attributes for entry in found] == [files.attributes(f"/{entry.name}") for entry in found]
        assert found[0].attributes.size > 1024


def test_the_size_that_a_listing_reports_counts_for_the_kernels_pages(movies: Path) -> None:
    with serving(movies) as files:
        entries(files, "/")
        (movies / "notes.txt").write_text("200 kV, as it turned out")
        handle = files._pages.opened("/notes.txt", "changed", (movies / "notes.txt").stat().st_size)
        assert handle is Pages.BYPASS


def test_records_are_read_once_by_several_threads(movies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    plain_open = os.open

    def counting(path: str, flags: int, *arguments: int, **options: int) -> int:
        if str(path).endswith(".tif"):
            opened.append(str(path))
        return plain_open(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", counting)
    with serving(movies) as files:
        for _ in range(2):
            entries(files, "/")
    assert sorted(opened) == sorted(f"{number}.mrc.tif" for number in range(40))
