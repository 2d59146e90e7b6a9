"""A writable mount: what programs write, rename and remove, and what they may not."""

import contextlib
import errno
import json
import mmap
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryofs.storage.archive_lock import LOCK_NAME
from cryofs.storage.checksum_lists import recorded
from cryofs.system import file_calls, renaming
from tests.mounted.support import NEEDS_MOUNTS, archive_copy, facts_of, is_gone
from tests.mounted.test_users import AS_NOBODY, NOBODY, needs_root
from tests.support import cryofs, mounted, run_in_process
from tests.vfs.serving import write_movie

pytestmark = NEEDS_MOUNTS

AT_FDCWD = -100


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that any user can enter."""
    base = Path(tempfile.mkdtemp(prefix="cryofs-writing-"))
    base.chmod(0o755)
    yield base
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def written(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A writable mount, and its archive, which was empty."""
    (folder / "archive").mkdir()
    with mounted(folder / "archive", folder / "mnt", "-o", "writable,allow_other,close=fast") as mount:
        yield mount, folder / "archive"


@pytest.fixture
def place(written: tuple[Path, Path], request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A new folder of a writable mount, and the folder of the archive that stores it."""
    mount, archive = written
    (mount / request.node.name).mkdir()
    return mount / request.node.name, archive / request.node.name


def refused(call: Callable[[], object], *errnos: str) -> None:
    """Assert that a call fails with an error of this name."""
    with pytest.raises(OSError, match="|".join(errnos)):
        call()


def test_files_are_stored_under_their_own_names(place: tuple[Path, Path]) -> None:
    mount, archive = place
    for name in ("x.mrc", "notes.txt"):
        (mount / name).write_bytes(b"abc" * 1000)
        assert (archive / name).read_bytes() == b"abc" * 1000
    (mount / "sub").mkdir()
    (mount / "x.mrc").rename(mount / "sub" / "y.mrc")
    (mount / "notes.txt").unlink()
    assert sorted(path.name for path in archive.rglob("*")) == ["sub", "y.mrc"]


def test_readers_see_what_is_written_at_once(place: tuple[Path, Path]) -> None:
    path = place[0] / "x.mrc"
    with path.open("wb", buffering=0) as writer, path.open("rb", buffering=0) as reader:
        for _ in range(3):
            before = path.stat().st_size
            writer.write(b"x" * 5000)
            assert path.stat().st_size == os.fstat(reader.fileno()).st_size == before + 5000
            assert reader.read() == b"x" * 5000
        os.pwrite(writer.fileno(), b"y", 7)
        assert os.pread(reader.fileno(), 3, 6) == b"xyx"


def test_maps_and_writes_see_each_other(place: tuple[Path, Path]) -> None:
    path = place[0] / "x.mrc"
    path.write_bytes(bytes(20000))
    with path.open("r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5000:5005] = b"hello"
        assert os.pread(file.fileno(), 5, 5000) == b"hello"
        os.pwrite(file.fileno(), b"there", 10000)
        assert mapped[10000:10005] == b"there"
        mapped[1:3] = b"ab"
    assert path.read_bytes()[:3] == b"\0ab"
    assert (place[1] / "x.mrc").read_bytes() == path.read_bytes()


def test_an_open_file_keeps_working_after_it_was_removed(place: tuple[Path, Path]) -> None:
    mount, archive = place
    path = mount / "x"
    with path.open("w+b", buffering=0) as file:
        file.write(b"abc")
        path.unlink()
        assert not path.exists()
        assert list(archive.iterdir()) == []
        path.write_bytes(b"new")
        os.fchmod(file.fileno(), 0o600)
        os.utime(file.fileno(), ns=(1, 2))
        file.write(b"def")
        found = os.fstat(file.fileno())
        assert (found.st_nlink, found.st_size, stat.S_IMODE(found.st_mode)) == (0, 6, 0o600)
        assert os.pread(file.fileno(), 10, 0) == b"abcdef"
        path.unlink()
        mount.rmdir()
        assert os.pread(file.fileno(), 10, 0) == b"abcdef"


def test_a_replaced_open_file_keeps_its_bytes(place: tuple[Path, Path]) -> None:
    mount, archive = place
    (mount / "a").write_bytes(b"old")
    with (mount / "a").open("rb") as reader:
        for number in range(20):
            (mount / "new").write_bytes(b"new%d" % number)
            (mount / "new").replace(mount / "a")
            assert (mount / "a").read_bytes() == b"new%d" % number
        assert reader.read() == b"old"
        assert os.fstat(reader.fileno()).st_size == 3
    assert [path.name for path in archive.iterdir()] == ["a"]


def test_no_reader_misses_a_file_that_is_replaced(place: tuple[Path, Path]) -> None:
    mount, _ = place
    path = mount / "x.star"
    path.write_bytes(b"0")
    missing, over = [], threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                assert path.read_bytes()
            except FileNotFoundError as error:
                missing.append(error)
            except OSError as error:
                # the file that was opened is gone by now, for the second time
                if error.errno != errno.ESTALE:
                    raise

    with path.open("rb"):
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(100):
            (mount / "temporary").write_bytes(b"%d" % number)
            (mount / "temporary").replace(path)
        over.set()
        for thread in threads:
            thread.join()
    assert not missing


def test_exchange_and_no_replace(place: tuple[Path, Path]) -> None:
    mount, _ = place
    for name in ("a", "b"):
        (mount / name).write_text(name)
    with (mount / "a").open() as reader:
        one, other = str(mount / "a"), str(mount / "b")
        refused(lambda: file_calls.move(AT_FDCWD, one, AT_FDCWD, other, renaming.NO_REPLACE), "File exists")
        file_calls.move(AT_FDCWD, one, AT_FDCWD, other, renaming.EXCHANGE)
        assert ((mount / "a").read_text(), (mount / "b").read_text(), reader.read()) == ("b", "a", "a")
        refused(lambda: file_calls.move(AT_FDCWD, one, AT_FDCWD, other, 4), "Invalid argument")


def test_times_are_set_one_at_a_time(place: tuple[Path, Path]) -> None:
    path = place[0] / "x"
    path.write_bytes(b"")
    os.utime(path, ns=(5, 10**9 + 7))
    subprocess.run(["touch", "-a", "-d", "2001-01-01 UTC", path], check=True)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (978307200 * 10**9, 10**9 + 7)
    subprocess.run(["touch", "-m", path], check=True)
    assert path.stat().st_atime_ns == 978307200 * 10**9
    assert path.stat().st_mtime_ns > 10**18


def test_names_that_belong_to_cryofs_are_refused(place: tuple[Path, Path], written: tuple[Path, Path]) -> None:
    mount, archive = place
    for name in (
        ".fuse_hidden0000000100000001",
        "gain-reference-0123abcd.mrc",
        ".cryofs-x",
        "x.mrc.tif",
        "X.MRCS.TIF",
        "x" * 248 + ".mrc",
    ):
        for call in (lambda path: path.write_bytes(b""), lambda path: path.mkdir(), lambda path: path.symlink_to("a")):
            refused(partial(call, mount / name), "Operation not permitted")
        (mount / "a").write_bytes(b"")
        refused(partial((mount / "a").rename, mount / name), "Operation not permitted")
    refused(lambda: (written[0] / "@counts").write_bytes(b""), "Is a directory")
    refused(lambda: (mount / "a").rename(written[0] / "@up2_gr9"), "Operation not permitted", "Is a directory")
    refused(lambda: os.link(mount / "a", mount / "b"), "Operation not permitted")
    refused(lambda: os.setxattr(mount / "a", "trusted.x", b"1"), "Operation not supported")
    assert [path.name for path in archive.iterdir()] == ["a"]


def test_extended_attributes(place: tuple[Path, Path]) -> None:
    path = place[0] / "x"
    path.write_bytes(b"")
    os.setxattr(path, "user.DOSATTRIB", b"0x20")
    assert os.listxattr(path) == ["user.DOSATTRIB"]
    assert os.getxattr(path, "user.DOSATTRIB") == os.getxattr(place[1] / "x", "user.DOSATTRIB") == b"0x20"
    os.removexattr(path, "user.DOSATTRIB")
    assert os.listxattr(path) == []


def test_derived_movies_are_read_only_but_never_in_the_way(place: tuple[Path, Path]) -> None:
    mount, archive = place
    write_movie(archive / "x.eer")
    derived = mount / "x.mrc"
    assert derived.stat().st_size > 1024
    refused(lambda: derived.open("r+b"), "Read-only file system")
    refused(lambda: derived.chmod(0o600), "Read-only file system")
    refused(lambda: derived.rename(mount / "y.mrc"), "Read-only file system")
    derived.unlink()
    assert not derived.exists()
    assert [path.name for path in mount.iterdir()] == ["x.eer"]
    derived.write_bytes(b"real")
    assert derived.read_bytes() == (archive / "x.mrc").read_bytes() == b"real"
    derived.unlink()
    (mount / "x.eer").rename(mount / "z.eer")
    assert (mount / "z.mrc").exists()
    (mount / "new").write_bytes(b"over")
    (mount / "new").rename(mount / "z.mrc")
    assert (mount / "z.mrc").read_bytes() == b"over"


def test_folders_with_derived_movies_can_be_removed(place: tuple[Path, Path], tmp_path: Path) -> None:
    mount, archive = place
    for folder in ("one", "two", "three"):
        for name in ("a", "b"):
            write_movie(archive / folder / f"{name}.eer")
    subprocess.run(["rm", "-r", mount / "one"], check=True)
    shutil.rmtree(mount / "two")
    (tmp_path / "empty").mkdir()
    subprocess.run(["rsync", "-a", "--delete", f"{tmp_path}/empty/", f"{mount}/three/"], check=True)
    (mount / "three").rmdir()
    assert list(archive.iterdir()) == []


def test_a_changed_file_loses_its_recorded_checksum(session: Path, tmp_path: Path) -> None:
    copied = archive_copy(session, tmp_path / "archive")
    assert recorded(copied / "notes.txt")
    with mounted(copied, tmp_path / "mnt", "--writable") as mount:
        (mount / "notes.txt").write_text("200 kV")
        assert recorded(copied / "notes.txt") is None
        (mount / "empty").rename(mount / "empty 2")
        assert recorded(copied / "empty") is None
        (mount / "Movies" / "0.mrc").rename(mount / "other.mrc")
        assert (mount / "other.mrc").read_bytes() == (session / "Movies" / "0.mrc").read_bytes()
        (mount / "Movies" / "1.mrc").unlink()
        assert [path.name for path in (mount / "Movies").iterdir()] == []
    done = run_in_process("verify", copied, "--json", check=False)
    assert json.loads(done.stdout)["failed"] == 0


def test_mrcfile_writes_in_both_modes(place: tuple[Path, Path]) -> None:
    values = np.arange(3 * 40 * 50, dtype=np.int16).reshape(3, 40, 50)
    for name, make in (("plain.mrc", mrcfile.new), ("mapped.mrc", None)):
        path = place[0] / name
        if make is not None:
            with make(path) as movie:
                movie.set_data(values)
        else:
            with mrcfile.new_mmap(path, values.shape, mrc_mode=1) as movie:
                movie.data[:] = values
        with mrcfile.mmap(path, "r+") as movie:
            movie.data[0, 0, 0] = 77
        with mrcfile.open(place[1] / name) as movie:
            assert movie.data[0, 0, 0] == 77
            assert np.array_equal(movie.data[1:], values[1:])


@needs_root
def test_new_files_belong_to_their_writer(place: tuple[Path, Path]) -> None:
    mount, archive = place
    mount.chmod(0o777)
    shared = mount / "shared"
    shared.mkdir()
    os.chown(shared, 0, 5)
    shared.chmod(0o2777)
    script = f"umask 027; cd {mount}; touch a; mkdir d; ln -s a l; touch shared/b; mkdir shared/e"
    subprocess.run([*AS_NOBODY, "sh", "-c", script], check=True)
    for name in ("a", "d", "l"):
        assert ((archive / name).lstat().st_uid, (archive / name).lstat().st_gid) == (NOBODY, NOBODY)
    for name in ("b", "e"):
        assert ((archive / "shared" / name).stat().st_uid, (archive / "shared" / name).stat().st_gid) == (NOBODY, 5)
    assert stat.S_IMODE((archive / "a").stat().st_mode) == 0o640
    assert (archive / "shared" / "e").stat().st_mode & stat.S_ISGID
    private = mount / "private"
    private.write_text("mine")
    private.chmod(0o600)
    assert subprocess.run([*AS_NOBODY, "sh", "-c", f"echo x >> {private}"], check=False, capture_output=True).returncode
    assert private.read_text() == "mine"


def test_a_killed_mount_loses_nothing_that_was_written(tmp_path: Path) -> None:
    archive, mount = tmp_path / "archive", tmp_path / "mnt"
    archive.mkdir()
    with mounted(archive, mount, "--writable", "-o", "close=fast"):
        files = [os.open(mount / name, os.O_RDWR | os.O_CREAT) for name in ("x.mrc", "gone")]
        for number in range(50):
            os.write(files[0], bytes([number]) * 70_000)
        (mount / "gone").unlink()
        assert not (mount / "gone").exists()
        pid = facts_of(mount)["pid"]
        os.kill(pid, signal.SIGKILL)
        while not is_gone(pid):
            time.sleep(0.01)
        for file in files:
            with contextlib.suppress(OSError):
                os.close(file)
        assert (archive / "x.mrc").read_bytes() == b"".join(bytes([number]) * 70_000 for number in range(50))
        assert (archive / LOCK_NAME).exists()
        assert cryofs("mount", archive, mount, "--writable").returncode == 0
        assert (mount / "x.mrc").stat().st_size == 50 * 70_000
        assert [path.name for path in mount.iterdir()] == ["x.mrc"]
