"""Mounts that do not respond, because their process is stopped: no command waits for them."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cryofs.doctor.mount_causes import server_of
from cryofs.fuse.control import is_mounted, mount_at
from cryofs.fuse.log_file import log_places
from tests import all_mounts
from tests.mounted.support import NEEDS_MOUNTS, facts_of, is_gone
from tests.privileges import IS_ROOT
from tests.support import cryofs, run_in_process, wait_for

pytestmark = NEEDS_MOUNTS
# A command that waits for the mount takes longer, however busy the machine is.
SECONDS = 60
NO_ANSWER = "the mount does not respond within 5 s"


@contextlib.contextmanager
def stopped(archive: Path, place: Path, log: Path) -> Iterator[int]:
    """Mount an archive, and stop its process, whose number is returned."""
    with all_mounts.one_hangs():
        cryofs("mount", archive, place, "--log-file", log)
        process = psutil.Process(facts_of(place)["pid"])
        process.suspend()
        try:
            yield process.pid
        finally:
            # the kernel ends the mount of a killed process, so that nothing waits for it any more
            process.kill()
            wait_for(lambda: is_gone(process.pid))
            while is_mounted(place):
                subprocess.run(["fusermount3", "-u", "-z", place], check=True)


def outputs(*commands: tuple[object, ...]) -> list[tuple[int, str]]:
    """Run commands at the same time; return the exit code and all output of each, or fail if one hangs."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "cryofs", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    try:
        found = [process.communicate(timeout=SECONDS)[0] for process in started]
        return [(process.returncode, output) for process, output in zip(started, found, strict=True)]
    finally:
        for process in started:
            process.kill()


def test_no_command_waits_for_a_mount_that_does_not_respond(session: Path, tmp_path: Path) -> None:
    archive, place, link = session.with_name("archive"), tmp_path / "mnt", tmp_path / "link"
    place.mkdir()
    (tmp_path / "other").mkdir()
    link.symlink_to(place)
    with stopped(archive, place, tmp_path / "log") as pid:
        commands: list[tuple[object, ...]] = [
            ("mount", archive, place),
            ("mount", archive, link),
            ("mount", place, tmp_path / "other"),
            ("stats", place),
            ("info", link / "special.mrcs"),
            ("verify", place / "Movies", place / "notes.txt"),
            ("compress", place, "-o", tmp_path / "new"),
            ("compare", session, place),
            ("extract", archive / "notes.txt", "-o", place / "out"),
            ("trajectory", session / "notes.txt", "--suffix", "x", "--movies", place),
            ("config", place),
        ]
        checks = [("doctor",), ("doctor", place), ("doctor", link / "Movies")]
        found = outputs(*commands, *checks)
        assert is_mounted(place)
        mount = mount_at(place)
        assert mount is not None
        cause = (
            f", because its process {pid} is stopped -> continue it: kill -CONT {pid};" if server_of(mount) else " -> "
        )
    for command, (code, output) in zip(commands, found, strict=False):
        assert (code, f"{place}: {NO_ANSWER}" in output) == (1, True), (command, output)
    for code, output in found[len(commands) :]:
        (line,) = [line for line in output.splitlines() if f"{place}: the mount does not respond{cause}" in line]
        assert (code, line.startswith("problem")) == (1, True)
        assert f"cryofs umount --lazy {place}" in line


@pytest.mark.parametrize("by_link", [False, True])
def test_a_mount_that_does_not_respond_is_detached_at_once(session: Path, tmp_path: Path, by_link: bool) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    archive = session.with_name("archive")
    with stopped(archive, place, tmp_path / "log") as pid:
        # a program that waits for the mount keeps it in use
        waiting = subprocess.Popen(["ls", place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: psutil.Process(waiting.pid).status() != psutil.STATUS_RUNNING)
        done = run_in_process("umount", "--lazy", tmp_path / "link" if by_link else place)
        assert (done.stderr, is_mounted(place), psutil.pid_exists(pid)) == ("", False, True)
        cryofs("mount", archive, place, "--log-file", tmp_path / "log")
        assert (place / "notes.txt").read_text() == "300 kV"
    assert waiting.wait(SECONDS)


def test_a_mount_that_does_not_respond_is_unmounted(session: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    with stopped(session.with_name("archive"), place, tmp_path / "log"):
        ((code, output),) = outputs(("umount", place))
        assert (code, is_mounted(place)) == (0, False)
        assert f"{place}: {NO_ANSWER}; unmounting without its process" in output


def test_doctor_names_the_cause_of_a_stale_mount(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process notes the cause in its default log, also if it logs elsewhere."""
    if not IS_ROOT:
        pytest.skip("needs root to abort a connection")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place, connections = tmp_path / "mnt", tmp_path / "connections"
    place.mkdir()
    connections.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", connections], check=True)
    cryofs("mount", session.with_name("archive"), place, "--log-file", tmp_path / "log")
    try:
        mount = mount_at(place)
        assert mount is not None
        (connections / mount.device.partition(":")[2] / "abort").write_text("1")
        (default,) = log_places(place)
        wait_for(lambda: default.exists() and "ended by" in default.read_text())
        done = run_in_process("doctor", place, check=False)
    finally:
        run_in_process("umount", place)
        subprocess.run(["umount", connections], check=True)
    assert done.returncode == 1
    assert "stale mount (its process has ended); the last line of its log: ended by the kernel: the conn" in done.stdout


@pytest.mark.skipif(not IS_ROOT, reason="needs root to make a PID namespace")
def test_a_process_of_another_pid_namespace(session: Path, tmp_path: Path) -> None:
    """Its number may be that of any other process here, also one with a FUSE connection."""
    place = tmp_path / "mnt"
    place.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", "f = open('/dev/fuse'); print(); input()"], stdin=-1, stdout=-1
    ) as other:
        assert other.stdout
        other.stdout.readline()
        script = f"echo {other.pid - 1} > /proc/sys/kernel/ns_last_pid; {sys.executable} -m cryofs mount -f $0 $1; true"
        command = ["unshare", "-pf", "--kill-child", "sh", "-c", script, str(session.with_name("archive")), str(place)]
        with subprocess.Popen(command) as mount:
            wait_for(lambda: is_mounted(place))
            assert facts_of(place)["pid"] == other.pid
            began = time.monotonic()
            done = run_in_process("umount", place, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert time.monotonic() - began < 20
            assert not is_mounted(place)
            assert mount.wait(SECONDS) == 0
        other.communicate(b"\n")
