"""Parts of a run as ranks of MPI and tasks of a Slurm array; one of them is killed, and the command runs again."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.compress.movie_task import CompressOptions
from cryofs.storage.atomic_file import DRAFT_PREFIX
from tests.support import archive, assert_verified, names, restored, same_archive, same_tree, simulated, wait_for

RANKS = 4
MOVIES = 8
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", str(RANKS)]

pytestmark = pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs mpirun (openmpi-bin)")


@pytest.fixture
def session(tmp_path: Path) -> Path:
    for number in range(MOVIES):
        simulated(tmp_path / "session" / f"{number}.mrc", frames=40, seed=number)
    (tmp_path / "session" / "notes.txt").write_text("300 kV")
    return tmp_path / "session"


@pytest.fixture
def command(session: Path, tmp_path: Path) -> list[str]:
    parts = ["--part", "auto", "--jobs", "1"]
    return [sys.executable, "-m", "cryofs", "compress", str(session), "-o", str(tmp_path / "archive"), *parts]


def drafts(target: Path) -> Iterator[int]:
    """The processes that write movies now."""
    for path in target.glob(DRAFT_PREFIX + "*"):
        # a draft may get its name at any time
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > 1000:
                yield int(path.name.rsplit("-", 3)[1])


def stored(output: str) -> Counter[str]:
    return Counter(line.partition(":")[0] for line in output.splitlines() if ".mrc.tif: " in line)


def test_a_rank_that_is_killed(session: Path, tmp_path: Path, command: list[str]) -> None:
    target = tmp_path / "archive"
    run = subprocess.Popen([*MPIRUN, *command], stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    os.kill(wait_for(lambda: next(drafts(target), None)), signal.SIGKILL)
    first, _ = run.communicate(timeout=200)
    assert run.returncode, first
    again = subprocess.run(
        [*MPIRUN, *command, "--only-do-unfinished"], capture_output=True, text=True, check=True, timeout=200
    )
    counts = stored(first) + stored(again.stderr)
    assert set(counts) == {f"{number}.mrc.tif" for number in range(MOVIES)}
    assert max(counts.values()) <= 2
    assert not list(target.glob(".cryofs-draft-*"))
    archive(session, tmp_path / "whole", CompressOptions(jobs=1))
    same_archive(tmp_path / "whole", target)
    assert_verified(target, MOVIES, all_have_checksums=True)
    same_tree(session, restored(target, tmp_path / "restored"))


def test_tasks_of_an_array_of_which_one_is_requeued(session: Path, tmp_path: Path, command: list[str]) -> None:
    target = tmp_path / "archive"

    def start(task: int, *options: str) -> subprocess.Popen[bytes]:
        numbers = {"ID": task, "MIN": 0, "MAX": RANKS - 1, "COUNT": RANKS, "STEP": 1}
        environment = {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()}
        return subprocess.Popen([*command, *options], env=os.environ | environment)

    tasks = {task: start(task) for task in range(RANKS)}
    killed = wait_for(lambda: next(drafts(target), None))
    os.kill(killed, signal.SIGKILL)
    (requeued,) = (task for task, process in tasks.items() if process.pid == killed)
    assert tasks[requeued].wait(timeout=200) == -signal.SIGKILL
    # it may have been the one that estimates the gain, for which the others wait
    tasks[requeued] = start(requeued, "--only-do-unfinished")
    assert [process.wait(timeout=200) for process in tasks.values()] == RANKS * [0]
    assert len(names(target)) == MOVIES + 2
    archive(session, tmp_path / "whole", CompressOptions(jobs=1))
    same_archive(tmp_path / "whole", target)
