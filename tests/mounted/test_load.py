"""Mounts under load, in use, and on storage that hangs."""

import contextlib
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cryofs.fuse.control import is_mounted
from tests.mounted.support import NEEDS_MOUNTS, archive_copy
from tests.support import cryofs, mounted, run_in_process, same_tree, wait_for

pytestmark = NEEDS_MOUNTS


@contextlib.contextmanager
def readers(place: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start programs that read a movie repeatedly, bypassing the page cache, until a read fails."""
    endless = f"while dd if='{place}/Movies/a.mrc' of=/dev/null bs=64K iflag=direct; do :; done"
    alive, held = os.pipe()
    running = [
        subprocess.Popen(["sh", "-c", endless], stderr=subprocess.DEVNULL, pass_fds=[held], start_new_session=True)
        for _ in range(count)
    ]
    os.close(held)
    try:
        yield running
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # a dd that briefly outlives its shell would keep the mount busy
        with os.fdopen(alive, "rb") as pipe:
            pipe.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_under_load_ends_the_mount_without_hangs(readable_session: Path, place: Path, number: int) -> None:
    cryofs("mount", readable_session.with_name("archive"), place, "--log-file", f"{place}.log")
    pid = int(os.getxattr(place, "user.cryofs.pid"))
    with readers(place, 4) as running:
        wait_for(lambda: int(os.getxattr(place, "user.cryofs.reads")) > 50)
        os.kill(pid, number)
        for process in running:
            process.wait(30)
        wait_for(lambda: not psutil.pid_exists(pid))
    if number == signal.SIGKILL:
        done = run_in_process("stats", place, check=False)
        assert f"stale mount, its process has ended; remove it with cryofs umount {place}" in done.stderr
        run_in_process("umount", place)
    assert not is_mounted(place)
    with mounted(readable_session.with_name("archive"), place):
        same_tree(readable_session, place)


def test_hangups_under_load_keep_the_mount(readable_session: Path, place: Path) -> None:
    with mounted(readable_session.with_name("archive"), place):
        pid = int(os.getxattr(place, "user.cryofs.pid"))
        with readers(place, 2) as running:
            for _ in range(20):
                os.kill(pid, signal.SIGHUP)
                assert (place / "Movies" / "a.mrc").read_bytes() == (readable_session / "Movies" / "a.mrc").read_bytes()
            assert [process.poll() for process in running] == [None, None]


def test_a_mount_in_use_can_be_detached(readable_session: Path, place: Path) -> None:
    cryofs("mount", readable_session.with_name("archive"), place, "--log-file", f"{place}.log")
    pid = int(os.getxattr(place, "user.cryofs.pid"))
    with (place / "Movies" / "a.mrc").open("rb") as file:
        done = run_in_process("umount", place, check=False)
        assert done.returncode == 1
        assert "--lazy" in done.stderr
        run_in_process("umount", "--lazy", place)
        assert not is_mounted(place)
        assert file.read() == (readable_session / "Movies" / "a.mrc").read_bytes()
    wait_for(lambda: not psutil.pid_exists(pid))


# A mount whose reads of one file hang while a flag file exists.
HANGING = """
import os, sys, time
from cryofs.storage.byte_source import LocalFile
flag = sys.argv.pop()
def pread(descriptor, size, offset):
    while os.path.exists(flag) and "private.mrc" in os.readlink(f"/proc/self/fd/{descriptor}"):
        time.sleep(0.05)
    return os.pread(descriptor, size, offset)
LocalFile._pread = staticmethod(pread)
from cryofs.cli import main
main()
"""


def test_a_file_on_hanging_storage_does_not_block_others(readable_session: Path, place: Path, tmp_path: Path) -> None:
    flag, log = tmp_path / "flag", tmp_path / "log"
    command = [sys.executable, "-c", HANGING, "mount", "-f", str(readable_session.with_name("archive")), str(place)]
    with log.open("w") as output:
        mount = subprocess.Popen([*command, "--request-timeout", "2", str(flag)], stderr=output)
        wait_for(lambda: is_mounted(place) and (place / "private.mrc").stat())
        stuck = place / "private.mrc"
        early = os.open(stuck, os.O_RDONLY | os.O_DIRECT)
        flag.touch()
        offsets = range(100_000, stuck.stat().st_size, 100_000)
        # more readers than the default number of libfuse threads
        reads = [["dd", f"if={stuck}", "bs=4K", f"skip={offset // 4096}", "iflag=direct"] for offset in [*offsets] * 4]
        waiting = [subprocess.Popen(read, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for read in reads]
        assert len(waiting) > 10
        assert (place / "Movies" / "a.mrc").read_bytes() == (readable_session / "Movies" / "a.mrc").read_bytes()
        assert "private.mrc" in os.listdir(place)
        assert stuck.stat().st_size == (readable_session / "private.mrc").stat().st_size
        assert any(one.poll() is None for one in waiting), "other files were readable while these readers waited"
        assert all(b"timed out" in one.communicate(timeout=60)[1] for one in waiting)
        assert stuck.stat().st_size == (readable_session / "private.mrc").stat().st_size
        with pytest.raises(TimeoutError):
            os.preadv(early, [mmap.mmap(-1, 4096)], 4096 * 100)
        os.close(early)
        assert f"{readable_session.with_name('archive')}/private.mrc.tif, frame " in log.read_text()
        flag.unlink()
        wait_for(
            lambda: (
                subprocess.run(["cmp", stuck, readable_session / "private.mrc"], capture_output=True).returncode == 0
            )
        )
        run_in_process("umount", place)
        assert mount.wait(60) == 0


def test_an_error_under_a_map_is_a_signal(readable_session: Path, place: Path, tmp_path: Path) -> None:
    target = archive_copy(readable_session, tmp_path / "copy")
    (target / "gain-reference.mrc").unlink()
    read = "import mmap, sys; f = open(sys.argv[1]); mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[200_000]"
    with mounted(target, place):
        done = subprocess.run([sys.executable, "-c", read, place / "Movies" / "a.mrc"], check=False)
    assert done.returncode == -signal.SIGBUS
