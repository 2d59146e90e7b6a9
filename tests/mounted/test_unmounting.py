"""The end of a mount: unmounted, terminated, stale."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryofs.fuse.control import is_mounted
from cryofs.fuse.unmounting import unmount
from tests.mounted.support import NEEDS_MOUNTS, facts_of, is_gone
from tests.privileges import CAN_MOUNT
from tests.support import DETACH_MOUNTS, cryofs, mounted, run_in_process

pytestmark = NEEDS_MOUNTS


@pytest.mark.skipif(not CAN_MOUNT, reason="needs root to bind mounts")
def test_unmounting_one_of_several_mounts(session: Path, tmp_path: Path) -> None:
    """Processes of bind mounts and of a mount under another mount continue to serve."""
    source, other = session.with_name("archive"), tmp_path / "other"
    other.mkdir()
    with mounted(source, tmp_path / "mnt") as place:
        subprocess.run(["mount", "--bind", place, other], check=True)
        run_in_process("umount", other)
        assert not is_mounted(other)
        assert (place / "notes.txt").read_text() == "300 kV"
        subprocess.run(["mount", "--bind", place, other], check=True)
        pid = facts_of(place)["pid"]
        run_in_process("umount", place)
        assert not is_mounted(place)
        assert (other / "notes.txt").read_text() == "300 kV"
        subprocess.run(["mount", "--bind", other, place], check=True)
        subprocess.run(["mount", "--bind", other, place], check=True)
        run_in_process("umount", place)
        assert is_mounted(place)
        run_in_process("umount", other)
    assert is_gone(pid)


@pytest.mark.skipif(not CAN_MOUNT, reason="needs root to make a mount namespace")
def test_unmounting_a_mount_that_another_namespace_shows_too(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as place:
        script = DETACH_MOUNTS + "echo; read x; exec cat notes.txt"
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(place)]
        inside = subprocess.Popen(command, stdin=-1, stdout=-1, cwd=place)
        assert inside.stdout
        inside.stdout.readline()
        # a program whose working directory is in the mount of this namespace would keep it busy
        run_in_process("umount", place)
        assert not is_mounted(place)
        assert inside.communicate(b"\n")[0] == b"300 kV"
        cryofs("mount", session.with_name("archive"), place, "--log-file", tmp_path / "log")


def test_unmounting_right_after_mounting(session: Path, tmp_path: Path) -> None:
    """The index stays valid at any state of the process."""
    for _ in range(3):
        with mounted(session.with_name("archive"), tmp_path / "mnt") as place:
            pid = int(os.getxattr(place, "user.cryofs.pid"))
        assert is_gone(pid)
        assert "WARNING" not in (tmp_path / "mnt.log").read_text()


def test_unmounting_waits_for_the_process(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount:
        pid = facts_of(mount)["pid"]
    assert is_gone(pid)
    assert not list((tmp_path / "mnt").iterdir())


def test_a_busy_mount_is_not_forced(session: Path, shared: Path) -> None:
    with (shared / "notes.txt").open():
        done = run_in_process("umount", shared, check=False)
        assert done.returncode == 1
        assert "fuser" in done.stderr
    assert (shared / "notes.txt").read_text() == "300 kV"


def test_a_mount_that_is_busy_for_a_moment(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place := tmp_path / "mnt").mkdir()
    cryofs("mount", session.with_name("archive"), place, "--log-file", tmp_path / "log")
    file = (place / "notes.txt").open()
    # the pause before the next attempt
    monkeypatch.setattr("cryofs.fuse.unmounting.time.sleep", lambda _: file.close())
    unmount(place)
    assert file.closed
    assert not is_mounted(place)


def test_a_stale_mount_is_reported_and_removed(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount:
        os.kill(facts_of(mount)["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 20
        while (
            "stale mount" not in (done := run_in_process("stats", mount, check=False)).stderr
            and time.monotonic() < deadline
        ):
            time.sleep(0.1)
        assert done.returncode == 1
        assert "cryofs umount" in done.stderr
    assert not list((tmp_path / "mnt").iterdir())


def test_mounting_removes_a_stale_mount_in_use(session: Path, tmp_path: Path) -> None:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as mount, (mount / "notes.txt").open():
        os.kill(facts_of(mount)["pid"], signal.SIGKILL)
        done = cryofs("mount", session.with_name("archive"), mount, "--log-file", tmp_path / "log")
        assert "removed a stale mount" in done.stderr
        assert (mount / "notes.txt").read_text() == "300 kV"


def test_sigterm_unmounts(session: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    cryofs("mount", session.with_name("archive"), place, "--log-file", tmp_path / "log")
    os.kill(facts_of(place)["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 20
    while is_mounted(place) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list(place.iterdir())


def test_a_foreground_mount_ends_with_success_on_sigterm(session: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    command = [sys.executable, "-m", "cryofs", "mount", "-f", str(session.with_name("archive")), str(place)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 20
        while not is_mounted(place) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (place / "notes.txt").read_text() == "300 kV"
        process.terminate()
    assert process.returncode == 0
