"""Listings of a real mount carry attributes, so that programs which look at every file need not ask again."""

import ctypes
import os
import platform
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from tests.damaged_tree import DamagedTree, make_damaged_tree
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import archive, mounted, simulated

pytestmark = NEEDS_MOUNTS
MOVIES = 700
# the kernel asks again only for what it never got
FOREVER = ("-o", "attr_timeout=3600,entry_timeout=3600")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a folder whose listing takes several requests; each movie is a copy of the first."""
    folder = tmp_path_factory.mktemp("many")
    simulated(folder / "session" / "Movies" / "0.mrc", frames=2)
    archive(folder / "session", folder / "archive")
    first = folder / "archive" / "Movies" / "0.mrc.tif"
    for number in range(1, MOVIES):
        shutil.copy(first, first.with_name(f"{number}.mrc.tif"))
    return folder / "archive"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> DamagedTree:
    return make_damaged_tree(tmp_path_factory.mktemp("damaged"))


def test_the_kernel_gets_attributes_with_names(many: Path, tmp_path: Path) -> None:
    with mounted(many, tmp_path / "mnt", *FOREVER) as place:
        names = sorted(os.listdir(place / "Movies"))
        assert names == sorted(f"{number}.mrc" for number in range(MOVIES))
        (many / "Movies").rename(many / "elsewhere")
        try:
            # nothing is stored under these names any more, so these are the attributes that came with them
            sizes = {(place / "Movies" / name).stat().st_size for name in names}
        finally:
            (many / "elsewhere").rename(many / "Movies")
        assert sizes == {(place / "Movies" / "0.mrc").stat().st_size}
        assert min(sizes) == len((place / "Movies" / "0.mrc").read_bytes())


def test_names_of_damaged_movies_come_without_attributes(tree: DamagedTree, tmp_path: Path) -> None:
    with mounted(tree.folder, tmp_path / "mnt", *FOREVER) as place:
        movies = tree.folder / "Movies"
        assert "cut.mrc" in os.listdir(place / "Movies")
        movies.rename(tree.folder / "elsewhere")
        try:
            assert (place / "Movies" / "good.mrc").stat().st_size > 1
            with pytest.raises(FileNotFoundError):
                (place / "Movies" / "cut.mrc").stat()
        finally:
            (tree.folder / "elsewhere").rename(movies)


@pytest.mark.parametrize("view", ["", "@counts", "@normalised", "@archive", "@up2_gr8"])
def test_listed_inodes_and_types_are_those_of_stat(tree: DamagedTree, tmp_path: Path, view: str) -> None:
    with mounted(tree.folder, tmp_path / "mnt") as place:
        with os.scandir(place / view / "Movies") as found:
            listed = {entry.name: (entry.inode(), entry.is_dir(follow_symlinks=False)) for entry in found}
        assert listed
        for name, (inode, is_folder) in listed.items():
            try:
                stated = (place / view / "Movies" / name).lstat()
            except FileNotFoundError:
                continue
            assert (inode, is_folder) == (stated.st_ino, stat.S_ISDIR(stated.st_mode)), name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs the number of getdents64 on this processor")
def test_the_folder_and_the_one_above_have_their_inodes(tree: DamagedTree, tmp_path: Path) -> None:
    with mounted(tree.folder, tmp_path / "mnt") as place:
        for folder, above in (
            (place, place),
            (place / "Movies", place),
            (place / "@counts" / "Movies", place / "@counts"),
        ):
            listed = raw_entries(folder)
            assert (listed["."], listed[".."]) == (folder.stat().st_ino, above.stat().st_ino)
            assert all(listed.values())


def raw_entries(folder: Path) -> dict[str, int]:
    """The names in a folder with their inodes, as the kernel returns them; os.scandir leaves out the folder itself."""
    found = {}
    memory = ctypes.create_string_buffer(1 << 16)
    descriptor = os.open(folder, os.O_RDONLY)
    while size := ctypes.CDLL(None).syscall(217, descriptor, memory, len(memory)):
        assert size > 0
        position = 0
        while position < size:
            inode, _, length, _ = struct.unpack_from("<QqHB", memory, position)
            found[os.fsdecode(memory.raw[position + 19 : position + length].split(b"\0")[0])] = inode
            position += length
    os.close(descriptor)
    return found


def test_a_changed_movie_has_its_new_size_after_the_timeout(many: Path, tmp_path: Path) -> None:
    longer = simulated(tmp_path / "session" / "longer.mrc", frames=3)
    archive(tmp_path / "session", tmp_path / "longer")
    stored = tmp_path / "longer" / "longer.mrc.tif"
    with mounted(many, tmp_path / "mnt", "-o", "attr_timeout=0,entry_timeout=0") as place:
        assert (place / "Movies" / "5.mrc").stat().st_size < longer.stat().st_size
        os.listdir(place / "Movies")
        shutil.copy(stored, many / "Movies" / "new")
        (many / "Movies" / "new").rename(many / "Movies" / "5.mrc.tif")
        assert (place / "Movies" / "5.mrc").stat().st_size == longer.stat().st_size
        (many / "Movies" / "6.mrc.tif").unlink()
        assert "6.mrc" not in os.listdir(place / "Movies")
        with pytest.raises(FileNotFoundError):
            (place / "Movies" / "6.mrc").stat()
    shutil.copy(many / "Movies" / "0.mrc.tif", many / "Movies" / "6.mrc.tif")
    shutil.copy(many / "Movies" / "0.mrc.tif", many / "Movies" / "5.mrc.tif")


@pytest.mark.parametrize("command", [["ls", "-l"], ["find"], ["du", "-a"], ["rsync", "-a", "--dry-run", "-v"]])
def test_programs_list_every_movie(many: Path, tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    with mounted(many, tmp_path / "mnt") as place:
        target = [f"{tmp_path}/copy/"] if command[0] == "rsync" else []
        done = subprocess.run([*command, place / "Movies", *target], capture_output=True, text=True, check=True)
    assert sum(line.endswith(".mrc") for line in done.stdout.splitlines()) == MOVIES
