"""Copies of a mount by common programs: every file equals the original, and plain files keep their hard links."""

import hashlib
import os
import shlex
import shutil
import stat
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.simulate import write_counts
from cryofs.formats.archive_names import MOVIE_SUFFIXES, archived_name
from cryofs.formats.packings import unpacked_name
from tests.corpus.session_tree import PACKED, make_session
from tests.foreign import LAYOUTS
from tests.mounted.support import NEEDS_MOUNTS
from tests.privileges import CAN_MOUNT
from tests.support import archive, mounted, tmpfs

pytestmark = NEEDS_MOUNTS
COPIES = {
    "tar": "tar -C {mount} --format=posix -cf - . | tar -C {copy} -xf -",
    "cp": "cp -a {mount}/. {copy}",
    "rsync": "rsync -aHAX {mount}/ {copy}",
}
DISKS = ("disk 1", "disk 2")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a session and its archive, with the links of the session and some between archived movies."""
    folder = make_session(tmp_path_factory.mktemp("copies") / "session")
    for seed, disk in enumerate(DISKS):
        (folder / disk).mkdir()
        write_counts(folder / disk / "movie.mrc", 4, (48, 64), seed=40 + seed)
        (folder / disk / "notes.txt").write_text(f"notes of {disk}")
        os.link(folder / disk / "notes.txt", folder / disk / "more notes.txt")
    stored = folder.with_name("archive")
    archive(folder, stored)
    for path in folder.rglob("*"):
        put_into(stored, path, path.relative_to(folder))
    for names in linked_names(folder):
        link_in(stored, sorted(names))
    os.link(stored / "Movies" / "gain-1.mrc.tif", stored / "Movies" / "gain-1.tif")
    return folder


def put_into(stored: Path, path: Path, name: Path) -> None:
    """Add files of a session that are missing in its archive, links as links."""
    place, movie = stored / name, stored / archived_name(str(name))
    if path.is_symlink():
        for old in (place, movie):
            old.unlink(missing_ok=True)
        place.symlink_to(path.readlink())
        os.utime(place, ns=(path.lstat().st_atime_ns, path.lstat().st_mtime_ns), follow_symlinks=False)
    elif path.is_file() and not place.exists() and not movie.exists():
        shutil.copy2(path, place)


def link_in(stored: Path, names: list[str]) -> None:
    """Link files of an archive whose originals are hard links of one file, including archived movies."""
    first, *others = (name if (stored / name).exists() else archived_name(name) for name in names)
    for name in others:
        (stored / name).unlink()
        os.link(stored / first, stored / name)


@pytest.fixture(scope="module")
def mount(session: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mount the archive; as root, put two of its folders on separate file systems first."""
    place = tmp_path_factory.mktemp("copies")
    stored = session.with_name("archive")
    with mounted(stored, place / "mnt") as shown:
        if not CAN_MOUNT:
            yield shown
            return
        for disk in DISKS:
            shutil.copytree(stored / disk, place / disk)
        with tmpfs(stored / DISKS[0]), tmpfs(stored / DISKS[1]):
            for disk in DISKS:
                for name in ("movie.mrc.tif", "notes.txt"):
                    shutil.copy2(place / disk / name, stored / disk)
                os.link(stored / disk / "notes.txt", stored / disk / "more notes.txt")
            yield shown


def linked_names(folder: Path) -> list[set[str]]:
    """Return the groups of names in a folder that are hard links of one file, ignoring symbolic links."""
    names: dict[tuple[int, int], set[str]] = defaultdict(set)
    for path in folder.rglob("*"):
        if stat.S_ISREG((found := path.lstat()).st_mode):
            names[found.st_dev, found.st_ino].add(str(path.relative_to(folder)))
    return sorted((each for each in names.values() if len(each) > 1), key=sorted)


def described(path: Path) -> tuple[object, ...]:
    """Return the properties of an entry that a copy must preserve."""
    found = path.lstat()
    if path.is_symlink():
        return "link", os.readlink(path)  # noqa: PTH115 - pathlib changes targets
    if path.is_dir():
        return ("folder",)
    return found.st_mode, found.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    return {str(path.relative_to(folder)): described(path) for path in folder.rglob("*")}


@pytest.mark.parametrize("program", COPIES)
def test_copies_equal_the_originals(session: Path, mount: Path, tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    copy = tmp_path / "copy"
    copy.mkdir()
    command = COPIES[program].format(mount=shlex.quote(str(mount)), copy=shlex.quote(str(copy)))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    originals, copied = tree(session), tree(copy)
    assert {name: copied.get(name) for name in originals} == originals
    # in addition to MRC views of EER and TIFF files, and a plain file with the name of an archived movie
    assert copied == tree(mount)
    besides = {"eer/long.mrc", "eer/short.mrc", "links/chain.mrc", "links/serialem.mrc", "Movies/gain-1.tif"}
    besides |= {"tiff/CAPITALS.mrc", "eer/CAPITALS.mrc", "eer/counted.mrc"}
    besides |= {f"tiff/{layout}.mrc" for layout in LAYOUTS}
    besides |= {f"packed/{unpacked_name(name)}" for name in (*PACKED, "text.mrc.gz")}
    besides |= {"links/gzip.mrc", "hard links/xz.mrc"}
    assert besides <= copied.keys() - originals.keys()
    plain = [each for each in linked_names(session) if not any(name.endswith(MOVIE_SUFFIXES) for name in each)]
    assert linked_names(copy) == plain
    assert len(plain) >= 3


def test_entries_have_the_inodes_of_their_files(mount: Path) -> None:
    """Inodes agree in listings, by name, and for open files."""
    seen: dict[tuple[int, int], set[tuple[object, ...]]] = defaultdict(set)
    for folder in [mount, *(path for path in mount.rglob("*") if path.is_dir() and not path.is_symlink())]:
        with os.scandir(folder) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                assert entry.inode() == found.st_ino, entry.path
                if entry.is_file(follow_symlinks=False):
                    with Path(entry.path).open("rb") as file:
                        opened = os.fstat(file.fileno())
                    assert (opened.st_ino, opened.st_nlink) == (found.st_ino, found.st_nlink)
                    seen[found.st_dev, found.st_ino].add(described(Path(entry.path)))
    assert all(len(each) == 1 for each in seen.values())
    assert len(seen) > 50
    for name in ("hard links/movie.mrc", "Movies/gain-0.mrc", "Movies/gain-1.mrc", "eer/long.mrc", "links/chain.mrc"):
        assert (mount / name).stat().st_nlink == 1


def test_listings_have_dot_entries(mount: Path) -> None:
    for folder in (mount, mount / "Movies", mount / "@counts"):
        listed = subprocess.run(["ls", "-aU", folder], capture_output=True, text=True, check=True).stdout.split("\n")
        assert {".", ".."} <= set(listed)


@pytest.mark.skipif(not CAN_MOUNT, reason="needs root to mount file systems")
def test_two_file_systems_whose_inodes_collide(session: Path, mount: Path) -> None:
    stored = session.with_name("archive")
    for name in ("movie.mrc", "notes.txt"):
        files = [stored / disk / (archived_name(name) if name == "movie.mrc" else name) for disk in DISKS]
        one, two = (path.stat() for path in files)
        if one.st_ino != two.st_ino:
            pytest.skip("the inodes of these file systems do not collide")
        assert one.st_dev != two.st_dev
        shown = [(mount / disk / name).stat() for disk in DISKS]
        assert shown[0].st_ino != shown[1].st_ino
    assert (mount / DISKS[0] / "notes.txt").samefile(mount / DISKS[0] / "more notes.txt")
