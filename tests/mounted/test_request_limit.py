"""A kernel that ends mounts whose requests take too long (Linux 6.15)."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryofs.fuse.control import is_mounted
from tests.mounted.support import NEEDS_MOUNTS
from tests.mounted.test_load import HANGING
from tests.privileges import IS_ROOT
from tests.support import archive, run_in_process, wait_for, written_movie

LIMIT = Path("/proc/sys/fs/fuse/max_request_timeout")
SECONDS = 15
pytestmark = [
    *NEEDS_MOUNTS,
    pytest.mark.slow,
    pytest.mark.skipif(not IS_ROOT or not LIMIT.exists(), reason="needs root and a kernel with a limit for requests"),
]


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Set the limit of the kernel, which counts for the mounts that are made meanwhile."""
    before = LIMIT.read_text()
    LIMIT.write_text(str(SECONDS))
    try:
        yield
    finally:
        LIMIT.write_text(before)


def test_a_file_on_hanging_storage_does_not_end_the_mount(readable_session: Path, place: Path, tmp_path: Path) -> None:
    archive, flag, log = readable_session.with_name("archive"), tmp_path / "flag", tmp_path / "log"
    command = [sys.executable, "-c", HANGING, "mount", "-f", str(archive), str(place), str(flag)]
    with log.open("w") as output, limited():
        mount = subprocess.Popen(command, stderr=output)
        wait_for(lambda: is_mounted(place) and (place / "private.mrc").stat())
        settings = json.loads(run_in_process("config", archive, "--json").stdout)
        machine = run_in_process("doctor", check=False).stdout
    assert settings["request_timeout"]["value"] == 5
    assert settings["request_timeout"]["origin"].endswith("limit of 15 s, fs.fuse.max_request_timeout")
    assert "warning  time limit of requests: 15 s (fs.fuse.max_request_timeout)" in machine
    assert "request_timeout is 5 s instead of 60 s, because this kernel ends" in log.read_text()
    stuck, intact = place / "private.mrc", readable_session / "Movies" / "a.mrc"
    flag.touch()
    offsets = range(100_000, stuck.stat().st_size, 100_000)
    reads = [["dd", f"if={stuck}", "bs=4K", f"skip={offset // 4096}", "iflag=direct"] for offset in [*offsets] * 4]
    waiting = [subprocess.Popen(read, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for read in reads]
    # the kernel checks every 15 s, and ends the mount at the next check after the limit
    until = time.monotonic() + 3 * SECONDS
    while time.monotonic() < until:
        assert (place / "Movies" / "a.mrc").read_bytes() == intact.read_bytes()
        time.sleep(1)
    assert all(b"timed out" in one.communicate()[1] for one in waiting)
    figures = json.loads(os.getxattr(place, "user.cryofs.facts"))
    assert (figures["request_timeout"], figures["kernel_request_limit"]) == (5, SECONDS)
    flag.unlink()
    run_in_process("umount", place)
    assert mount.wait(60) == 0


HANGING_SYNCS = """
import os, sys, time
from cryofs.storage.changes import Disk
flag, sync = sys.argv.pop(), Disk.sync
def hanging(disk, descriptor):
    while os.path.exists(flag):
        time.sleep(0.05)
    sync(disk, descriptor)
Disk.sync = hanging
from cryofs.cli import main
main()
"""


def test_syncs_and_thaws_that_take_longer_do_not_end_a_writable_mount(tmp_path: Path) -> None:
    movie = written_movie(tmp_path / "session" / "X.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    place, flag = tmp_path / "mnt", tmp_path / "flag"
    place.mkdir()
    options = ["-o", "writable,settle=1000,close=fast"]
    command = [sys.executable, "-c", HANGING_SYNCS, "mount", "-f", str(tmp_path / "archive"), str(place), *options]
    with (tmp_path / "log").open("w") as output, limited():
        mount = subprocess.Popen([*command, str(flag)], stderr=output)
        wait_for(lambda: is_mounted(place) and (place / "X.mrc").stat())

    def sync() -> None:
        with (place / "notes").open("ab", buffering=0) as file:
            file.write(b"text")
            os.fsync(file.fileno())

    def thaw() -> None:
        with (place / "X.mrc").open("r+b", buffering=0) as file:
            file.write(b"")

    flag.touch()
    with ThreadPoolExecutor(2) as pool:
        until = time.monotonic() + 3 * SECONDS
        while time.monotonic() < until:
            for waiting in [pool.submit(sync), pool.submit(thaw)]:
                assert isinstance(waiting.exception(), TimeoutError)
            assert (place / "X.mrc").read_bytes() == movie.read_bytes()
    flag.unlink()
    sync()
    thaw()
    assert (place / "notes").read_bytes().startswith(b"text" * 2)
    assert (tmp_path / "archive" / "X.mrc").read_bytes() == movie.read_bytes()
    run_in_process("umount", place)
    assert mount.wait(60) == 0
