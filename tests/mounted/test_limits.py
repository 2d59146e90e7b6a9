"""Mounts under a limit of processes and threads: served without errors, or refused with the number that is needed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mounted.support import NEEDS_MOUNTS
from tests.support import run_in_process, wait_for

pytestmark = NEEDS_MOUNTS
# of the two versions of control groups
GROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
READERS = 24


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that limits the number of tasks."""
    made = next((folder for folder in GROUPS if (folder / "cgroup.procs").exists()), GROUPS[0]) / f"test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError:
        pytest.skip("needs root, and control groups that may be changed")
    try:
        if not (made / "pids.max").exists():
            pytest.skip("needs control groups that count tasks")
        yield made
    finally:
        wait_for(lambda: not (made / "cgroup.procs").read_text())
        made.rmdir()


@pytest.fixture
def mount_within(group: Path, session: Path, tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Return a function that mounts the archive of a session with a limit of tasks, and returns the errors."""
    place = tmp_path / "mnt"
    place.mkdir()

    def mount(limit: int) -> str:
        (group / "pids.max").write_text(str(limit))
        enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        command = [sys.executable, "-m", "cryofs", "mount", session.with_name("archive"), place]
        options = ["--jobs", "2", "--log-file", tmp_path / "log"]
        done = subprocess.run(
            ["sh", "-c", enter, "sh", *map(str, (*command, *options))], stderr=subprocess.PIPE, text=True, check=False
        )
        return done.stderr

    yield mount
    if place.is_mount():
        run_in_process("umount", place)


def test_a_mount_gets_all_threads_that_it_needs_or_is_refused(
    session: Path, tmp_path: Path, mount_within: Callable[[int], str]
) -> None:
    errors = mount_within(14)
    found = re.search(r"needs (\d+) threads \(the system allows (\d+) more\); .*pids\.max", errors)
    assert found is not None, errors
    needed, allowed = map(int, found.groups())
    assert 0 < allowed < 14 < needed
    # the command, and the process that serves the mount
    assert mount_within(needed + 2) == ""
    names = [name for name in os.listdir(session / "Movies") if name.endswith(".mrc")]

    def read(number: int) -> bytes:
        path = Path("Movies", names[number % len(names)])
        with (tmp_path / "mnt" / path).open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(1024 * number)
            return file.read(1 << 16)

    with ThreadPoolExecutor(READERS) as readers:
        for number, data in enumerate(readers.map(read, range(4 * READERS))):
            original = (session / "Movies" / names[number % len(names)]).read_bytes()
            assert data == original[1024 * number :][: 1 << 16]
    assert "ERROR" not in (tmp_path / "log").read_text()
