"""A mount that stores movies: what is written becomes archived movies, under readers, and plain files again."""

import mmap
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.simulate import header
from cryofs.storage.checksum_lists import LIST_NAME
from tests.mounted.storing import movie, wait_for
from tests.mounted.support import NEEDS_MOUNTS, is_gone, wait_for_unlocked
from tests.outcomes import verified
from tests.support import mounted

pytestmark = NEEDS_MOUNTS
SHAPE = (30, 256, 300)


def test_a_written_movie_is_archived_under_its_readers(tmp_path: Path) -> None:
    archive, data = tmp_path / "archive", movie(1, SHAPE)
    archive.mkdir()
    with mounted(archive, tmp_path / "mnt", "-o", "writable,settle=0,ingest_jobs=1") as mount:
        shown, problems, is_ended = mount / "X.mrc", [], threading.Event()
        with shown.open("wb", buffering=0) as writer:
            writer.write(data)
            reader = shown.open("rb", buffering=0)
        mapped = mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ)

        def read() -> None:
            while not is_ended.is_set():
                for found in (os.pread(reader.fileno(), len(data), 0), mapped[:], shown.read_bytes()):
                    if found != data:
                        problems.append(len(found))

        thread = threading.Thread(target=read)
        thread.start()
        try:
            wait_for(lambda: (archive / "X.mrc.tif").exists() and not (archive / "X.mrc").exists())
            time.sleep(0.3)
        finally:
            is_ended.set()
            thread.join()
        assert not problems
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(reader.fileno(), len(data), 0) == data
        mapped.close()
        reader.close()
        # a change in the middle thaws it, and it is archived again
        with shown.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"changed", 100_000)
            assert (archive / "X.mrc").exists()
        data = data[:100_000] + b"changed" + data[100_007:]
        assert shown.read_bytes() == data
        wait_for(lambda: (archive / "X.mrc.tif").exists() and not (archive / "X.mrc").exists())
        assert shown.read_bytes() == data
        shown.rename(mount / "Y.mrc")
        (mount / "Y.mrc").chmod(0o600)
        os.utime(mount / "Y.mrc", ns=(7, 10**18 + 5))
        wait_for(lambda: (archive / "Y.mrc.tif").exists() and not (archive / "Y.mrc").exists())
        found = (mount / "Y.mrc").stat()
        assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o600, 10**18 + 5)
        assert (mount / "Y.mrc").read_bytes() == data
    wait_for_unlocked(archive)
    assert [path.name for path in archive.iterdir()] == ["Y.mrc.tif"]
    assert not verified(archive)[1]


def test_what_gets_no_smaller_stays_plain(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    noise = header(SHAPE, 1) + os.urandom(2 * int(np.prod(SHAPE)))
    with mounted(archive, tmp_path / "mnt", "-o", "writable,settle=0,ingest_jobs=1") as mount:
        (mount / "noise.mrc").write_bytes(noise)
        (mount / "text.mrc").write_bytes(b"no movie" * 1000)
        log = tmp_path / "mnt.log"
        wait_for(lambda: log.read_text().count("kept plain") == 2)
        assert (mount / "noise.mrc").read_bytes() == noise
    wait_for_unlocked(archive)
    assert sorted(path.name for path in archive.glob("*")) == [LIST_NAME, "noise.mrc", "text.mrc"]


def test_a_killed_child_loses_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    data = {f"{number}.mrc": movie(number, SHAPE) for number in range(3)}
    with mounted(archive, tmp_path / "mnt", "-o", "writable,settle=0,ingest_jobs=1") as mount:
        server = server_of(mount)
        for name, written in data.items():
            (mount / name).write_bytes(written)
        wait_for(lambda: workers(server))
        wait_for(lambda: list(archive.glob(".cryofs-draft-*")))
        for worker in workers(server):
            worker.send_signal(signal.SIGKILL)
        assert {name: (mount / name).read_bytes() for name in data} == data
        wait_for(lambda: len(list(archive.glob("*.tif"))) == 3 and not list(archive.glob("*.mrc")))
        assert {name: (mount / name).read_bytes() for name in data} == data
        children = server.children(recursive=True)
    # neither the mount nor its children outlive it
    wait_for(lambda: all(is_gone(process.pid) for process in [server, *children]))
    wait_for_unlocked(archive)
    assert sorted(path.name for path in archive.iterdir()) == ["0.mrc.tif", "1.mrc.tif", "2.mrc.tif"]
    assert not verified(archive)[1]


def test_a_killed_mount_loses_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    data = {f"{number}.mrc": movie(number, SHAPE) for number in range(3)}
    options = ("-o", "writable,settle=0,ingest_jobs=1")
    with mounted(archive, tmp_path / "mnt", *options) as mount:
        server = server_of(mount)
        for name, written in data.items():
            (mount / name).write_bytes(written)
        wait_for(lambda: workers(server))
        children = server.children(recursive=True)
        server.send_signal(signal.SIGKILL)
        wait_for(lambda: all(is_gone(process.pid) for process in [server, *children]))
        # another mount archives what the dead one left
        with mounted(archive, tmp_path / "again", *options) as again:
            assert {name: (again / name).read_bytes() for name in data} == data
            wait_for(lambda: len(list(archive.glob("*.tif"))) == 3 and not list(archive.glob("*.mrc")))
            assert {name: (again / name).read_bytes() for name in data} == data
    wait_for_unlocked(archive)
    assert sorted(path.name for path in archive.iterdir()) == ["0.mrc.tif", "1.mrc.tif", "2.mrc.tif"]
    assert not verified(archive)[1]


def server_of(mount: Path) -> psutil.Process:
    """The process that serves a mount."""
    return next(one for one in psutil.process_iter(["cmdline"]) if str(mount) in (one.info["cmdline"] or []))


def workers(server: psutil.Process) -> list[psutil.Process]:
    """Children that make drafts: those of the process from which they are forked."""
    return [one for child in server.children() for one in child.children()]
