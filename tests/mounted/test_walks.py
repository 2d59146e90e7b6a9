"""Programs that walk a mount with damage of every kind: they finish, and fail only for damaged files."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.damaged_tree import DamagedTree, make_damaged_tree
from tests.mounted.support import NEEDS_MOUNTS
from tests.support import mounted, run_in_process

pytestmark = NEEDS_MOUNTS


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> DamagedTree:
    return make_damaged_tree(tmp_path_factory.mktemp("damaged"))


@pytest.fixture(scope="module")
def place(tree: DamagedTree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(tree.folder, tmp_path_factory.mktemp("walks") / "mnt", "--eer-upsampling", 4) as made:
        yield made


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_walking_succeeds(tree: DamagedTree, place: Path) -> None:
    def fail(error: OSError) -> None:
        raise error

    found = {}
    for folder, _, names in os.walk(place, onerror=fail):
        for name in names:
            path = Path(folder) / name
            found[str(path.relative_to(place))] = path.lstat()
            for attribute in os.listxattr(path, follow_symlinks=False):
                os.getxattr(path, attribute, follow_symlinks=False)
    links = {"Movies/nowhere.eer", "Movies/loop.tif"}
    assert set(found) == tree.names | links


@pytest.mark.parametrize("command", [("ls", "-lR"), ("find",), ("du", "-a"), ("du", "--apparent-size", "-a")])
def test_programs_that_only_read_attributes_succeed(place: Path, command: tuple[str, ...]) -> None:
    arguments = ("-type", "f", "-size", "+0") if command == ("find",) else ()
    done = run(*command, place, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cut.mrc" in done.stdout
    assert "truncated.mrc" not in done.stdout


def check_copy(tree: DamagedTree, copy: Path, errors: str) -> None:
    """Assert that a copy has all files except damaged ones, each of which is reported as an error."""
    for name, data in tree.readable.items():
        assert (copy / name).read_bytes() == data
    for name in tree.listed:
        assert (copy / name).stat().st_size > 1
    for name in tree.unreadable:
        # a program may leave an empty file after a failed copy, but never wrong bytes
        assert not (copy / name).exists() or not (copy / name).stat().st_size
        assert any(name in line and os.strerror(errno.EIO) in line for line in errors.splitlines())


def test_cp_fails_only_for_damaged_files(tree: DamagedTree, place: Path, tmp_path: Path) -> None:
    done = run("cp", "-r", "--preserve=mode,timestamps", place, tmp_path / "copy")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == len(tree.unreadable)
    check_copy(tree, tmp_path / "copy", done.stderr)


def test_tar_fails_only_for_damaged_files(tree: DamagedTree, place: Path, tmp_path: Path) -> None:
    done = run("tar", "-C", place, "-cf", tmp_path / "copy.tar", ".")
    assert done.returncode == 2
    (tmp_path / "copy").mkdir()
    assert run("tar", "-C", tmp_path / "copy", "-xf", tmp_path / "copy.tar").returncode == 0
    # tar pads a file that it fails to read, and reports it
    for name in ("Movies/hollow.mrc",):
        (tmp_path / "copy" / name).unlink(missing_ok=True)
    check_copy(tree, tmp_path / "copy", done.stderr)


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_rsync_fails_only_for_damaged_files(tree: DamagedTree, place: Path, tmp_path: Path) -> None:
    done = run("rsync", "-aHX", f"{place}/", tmp_path / "copy")
    assert done.returncode == 23
    check_copy(tree, tmp_path / "copy", done.stderr)


def test_cat_fails_for_damaged_files(tree: DamagedTree, place: Path) -> None:
    for name in tree.unreadable:
        done = run("cat", place / name)
        assert (done.returncode, done.stdout) == (1, "")
        assert os.strerror(errno.EIO) in done.stderr
    for name in ("truncated", "junk", "headless"):
        assert "No such file" in run("cat", place / "Movies" / f"{name}.mrc").stderr


def test_a_restored_movie_is_readable_at_once(tree: DamagedTree, tmp_path: Path) -> None:
    """The kernel caches the size of the placeholder for a second, which must not truncate the movie."""
    (tmp_path / "archive").mkdir()
    shutil.copy(tree.folder / "gain-reference.mrc", tmp_path / "archive")
    whole = (tree.folder / "Movies" / "good.mrc.tif").read_bytes()
    right = tree.readable["Movies/good.mrc"]
    with mounted(tmp_path / "archive", tmp_path / "mnt") as place:
        for name in ("a.mrc", "b.mrc", "c.mrc"):
            stored = tmp_path / "archive" / f"{name}.tif"
            stored.write_bytes(whole[:-100])
            assert (place / name).stat().st_size == 1
            (tmp_path / "new").write_bytes(whole)
            (tmp_path / "new").rename(stored)
            with (place / name).open("rb") as file:
                assert os.fstat(file.fileno()).st_size == len(right)
                assert file.read() == right
            assert run("tar", "-C", place, "-cf", tmp_path / "copy.tar", name).returncode == 0


def test_doctor_and_stats_name_damaged_files(tree: DamagedTree, place: Path) -> None:
    run("ls", "-lR", place)
    for what in (place, tree.folder):
        report = run_in_process("doctor", what, check=False).stdout
        assert "damaged" in report
        assert "copy the files again" in report
        report = run_in_process("stats", what, check=False).stdout
        for name in ("truncated.eer", "junk.eer", "empty.eer", "zeros.eer"):
            assert f"/Movies/{name}: " in report
    log = place.with_suffix(".log").read_text()
    for name in ("truncated.eer", "junk.eer", "headless.tif", "cut.mrc.tif"):
        assert f"/Movies/{name}: " in log
