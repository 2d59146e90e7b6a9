"""Inode numbers: names that show different bytes never share one, and a number stays as long as its file does."""

import os
import shutil
import stat
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from cryofs.config.settings import Settings
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.inodes import FolderInodes, hashed_inode
from tests.corpus.session_tree import DETECTOR, EER_SHAPE
from tests.foreign import counts, serialem
from tests.privileges import CAN_MOUNT
from tests.support import archive, listed_in, simulated, tmpfs
from tests.vfs.serving import content, started, write_movie

INODES = st.integers(0, 2**64 - 1)
VIEWS = ("", "/@counts", "/@normalised", "/@archive", "/@up2_gr8", "/@up1_gr3", "/@up2crop1_gr8")


def serving(folder: Path, **settings: Any) -> AbstractContextManager[FileSystem]:
    return started(FileSystem(folder, Settings(jobs=1, **{"eer_grouping": 4, **settings})))


@pytest.fixture(scope="module")
def made_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inodes")
    for number, name in enumerate(("a.mrc", "b.mrc")):
        simulated(folder / "session" / "Movies" / name, frames=16, seed=number, detector=DETECTOR)
    (folder / "session" / "notes.txt").write_text("300 kV")
    archive(folder / "session", folder / "archive")
    write_movie(folder / "archive" / "eer" / "c.eer")
    serialem(folder / "archive" / "tiff" / "d.tif", counts())
    # a hard link beside another gain reference
    (folder / "archive" / "tiff" / "second").mkdir()
    for factor, place in enumerate(("tiff", "tiff/second"), 1):
        with mrcfile.new(folder / "archive" / place / "gain-reference.mrc") as reference:
            reference.set_data(np.full((48, 35), factor, np.float32))
    tifffile.imwrite(folder / "archive" / "falcon.gain", np.ones(EER_SHAPE, np.float32))
    return folder / "archive"


@pytest.fixture
def place(made_archive: Path, tmp_path: Path) -> Path:
    """An archive with every kind of movie, and hard links between files that are shown as different things."""
    copy = tmp_path / "archive"
    shutil.copytree(made_archive, copy)
    movies = copy / "Movies"
    os.link(movies / "a.mrc.tif", movies / "a.tif")
    os.link(movies / "a.mrc.tif", movies / "same.mrc.tif")
    os.link(copy / "notes.txt", movies / "notes.txt")
    os.link(copy / "eer" / "c.eer", movies / "linked.eer")
    os.link(copy / "tiff" / "d.tif", copy / "tiff" / "second" / "d.tif")
    (movies / "link.eer").symlink_to("../eer/c.eer")
    (movies / "link.tif").symlink_to("../tiff/d.tif")
    return copy


def walk(files: FileSystem, folder: str) -> Iterator[tuple[str, Attributes]]:
    """All names below a folder of the mount, with attributes as a listing has them."""
    for name, listed in listed_in(files, folder or "/"):
        yield f"{folder}/{name}", listed
        if stat.S_ISDIR(listed.mode):
            yield from walk(files, f"{folder}/{name}")


def what_it_shows(files: FileSystem, path: str, mode: int) -> object:
    if stat.S_ISDIR(mode):
        # a folder is shown in another way by each view
        return path.split("/")[1] if path.startswith("/@") else ""
    return files.read_link(path) if stat.S_ISLNK(mode) else content(files, path)


def test_names_that_share_an_inode_show_the_same(place: Path) -> None:
    shown: dict[int, list[object]] = defaultdict(list)
    names: dict[int, list[str]] = defaultdict(list)
    with serving(place, eer_gain=str(place / "falcon.gain")) as files:
        for view in VIEWS:
            for path, listed in walk(files, view):
                found = files.attributes(path)
                assert (found.inode, stat.S_IFMT(found.mode)) == (listed.inode, stat.S_IFMT(listed.mode)), path
                handle = files.open(path) if found.is_file else None
                if handle is not None:
                    assert files.open_attributes(handle) == found, path
                    files.release(handle)
                shown[found.inode].append(what_it_shows(files, path, found.mode))
                names[found.inode].append(path)
                if found.links > 1 and found.is_file:
                    assert place.joinpath(path.removeprefix(view).lstrip("/")).stat().st_ino == found.inode, path
    assert sum(map(len, names.values())) > 60
    for inode, contents in shown.items():
        assert all(each == contents[0] for each in contents), names[inode]
    # what is made of files shares its inode with what is made of a hard link of the same file alone
    linked = {"a.mrc", "same.mrc"}, {"c.mrc", "linked.mrc"}, {"d.mrc"}
    made = [
        paths
        for inode, paths in names.items()
        if inode >= 1 << 62 and not paths[0].endswith(("/eer", "/Movies", "/tiff", "/second"))
    ]
    shared = [{path.rpartition("/")[2] for path in paths} for paths in made if len(paths) > 1]
    assert all(names in linked for names in shared)
    assert len(shared) > 2
    # beside different gain references, hard links are different movies
    assert not any(len(paths) > 1 for paths in names.values() if "/@normalised/tiff/d.mrc" in paths)


def test_what_is_made_of_files_has_one_link_and_plain_files_keep_theirs(place: Path) -> None:
    with serving(place, eer_gain=str(place / "falcon.gain")) as files:
        expected = {
            "/Movies/a.mrc": 1,
            "/Movies/same.mrc": 1,
            "/@counts/Movies/a.mrc": 1,
            "/Movies/a.tif": 3,
            "/Movies/notes.txt": 2,
            "/notes.txt": 2,
            "/Movies/linked.eer": 2,
            "/Movies/linked.mrc": 1,
            "/eer/c.mrc": 1,
            "/Movies/link.mrc": 1,
            "/eer/gain-reference.mrc": 1,
        }
        assert {name: files.attributes(name).links for name in expected} == expected
        assert files.attributes("/notes.txt").inode == files.attributes("/Movies/notes.txt").inode
        assert files.attributes("/Movies/a.tif").inode == (place / "Movies" / "a.tif").stat().st_ino


def inodes(place: Path, **settings: Any) -> dict[str, int]:
    with serving(place, **settings) as files:
        return {path: found.inode for view in VIEWS for path, found in walk(files, view)}


def test_inodes_stay_over_mounts_and_renames(place: Path) -> None:
    gain = {"eer_gain": str(place / "falcon.gain")}
    before = inodes(place, **gain)
    # another number of the descriptor, by which the archive is reached
    with (place / "notes.txt").open():
        assert inodes(place, **gain) == before
    moved = place.rename(place.with_name("moved"))
    assert inodes(moved, eer_gain=str(moved / "falcon.gain")) == before
    for old, new in (("Movies/b.mrc.tif", "b2.mrc.tif"), ("tiff/d.tif", "Movies/d2.tiff")):
        (moved / old).rename(moved / new)
    after = inodes(moved)
    assert after["/b2.mrc"] == before["/Movies/b.mrc"]
    assert after["/@counts/b2.mrc"] == before["/@counts/Movies/b.mrc"]
    assert after["/Movies/d2.mrc"] == before["/tiff/d.mrc"]


def test_another_rendering_has_another_inode(place: Path) -> None:
    """Programs that make backups take a file of the same inode, size and times for the same."""
    whole = inodes(place)
    for choices in ({"eer_dtype": "uint16"}, {"eer_grouping": 5}, {"eer_upsampling": 2}):
        other = inodes(place, **choices)
        assert other["/eer/c.mrc"] != whole["/eer/c.mrc"]
        assert other["/Movies/b.mrc"] == whole["/Movies/b.mrc"]


@given(INODES, INODES, st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_hashes_fit_and_differ(one: int, other: int, parts: list[str]) -> None:
    """For inodes of 64 bits too; collisions are rarer than what Hypothesis can find."""
    assert 1 << 62 <= hashed_inode(one, *parts) < 1 << 63
    assert (hashed_inode(one, *parts) == hashed_inode(other, *parts)) == (one == other)
    assert hashed_inode(one, *parts) != hashed_inode(one, *parts, "more")


ARCHIVE = Path("/archive")


def shown_inode(devices: dict[str, int], device: int, inode: int, folder: str = "") -> int:
    """Inode of a file in a folder, where folders beneath the archive have these devices."""
    on_the_way = [(ARCHIVE, 1), *((ARCHIVE / name, number) for name, number in devices.items())]
    root: Any = SimpleNamespace(path=ARCHIVE, device=1, devices=lambda _: on_the_way)
    found = os.stat_result((stat.S_IFREG, inode, device, 1, 0, 0, 0, 0, 0, 0))
    return FolderInodes(root, ARCHIVE / folder).attributes("x", found).inode


@given(INODES)
def test_file_systems_whose_inodes_collide(inode: int) -> None:
    """A file system is identified by the folder where it begins, because its device number changes."""
    own = shown_inode({}, 1, inode)
    one = shown_inode({"one": 2}, 2, inode, "one")
    two = shown_inode({"two": 3}, 3, inode, "two")
    nested = shown_inode({"one": 2, "one/two": 3}, 3, inode, "one/two")
    file = shown_inode({"one": 2}, 3, inode, "one")
    assert len({own, one, two, nested, file}) == 5
    assert own == (inode or own)
    assert 0 not in (own, one, two)
    assert (
        one
        == shown_inode({"one": 77}, 77, inode, "one")
        == shown_inode({"one": 2, "one/deep": 2}, 2, inode, "one/deep")
    )
    # the archive's own file system again, below another
    assert shown_inode({"one": 2, "one/back": 1}, 1, inode, "one/back") == own


@pytest.mark.skipif(not CAN_MOUNT, reason="needs root to mount")
def test_an_archive_of_several_file_systems(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two of the same inodes, one of them mounted again under another device number."""
    movie = (place / "Movies" / "b.mrc.tif").read_bytes()

    def fill(folder: Path, text: str) -> None:
        (folder / "x.mrc.tif").write_bytes(movie)
        (folder / "y.txt").write_text(text)
        os.link(folder / "y.txt", folder / "z.txt")

    def inodes_of(files: FileSystem, folder: str) -> list[int]:
        assert content(files, f"{folder}/y.txt") == folder.encode()
        return [files.attributes(f"{folder}/{name}").inode for name in ("x.mrc", "y.txt", "z.txt", "")]

    for name in ("one", "two"):
        (place / name).mkdir()
    with tmpfs(place / "one"), serving(place) as files:
        fill(place / "one", "/one")
        with tmpfs(place / "two"):
            fill(place / "two", "/two")
            stored = [[(place / name / file).stat() for file in ("x.mrc.tif", "y.txt")] for name in ("one", "two")]
            if [found.st_ino for found in stored[0]] != [found.st_ino for found in stored[1]]:
                pytest.skip("the inodes of these file systems do not collide")
            one, two = inodes_of(files, "/one"), inodes_of(files, "/two")
            assert set(one).isdisjoint(two)
            assert one[1] == one[2]
            assert files.attributes("/one/y.txt").links == 2
            assert dict(listed_in(files, "/"))["two"].inode == files.attributes("/two").inode
        with tmpfs(tmp_path_factory.mktemp("other")), tmpfs(place / "two"):
            fill(place / "two", "/two")
            assert (place / "two").stat().st_dev != stored[1][0].st_dev
            assert inodes_of(files, "/two") == two
