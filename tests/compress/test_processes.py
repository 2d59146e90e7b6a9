"""Runs of several processes: the archive that one makes, whatever happens to a process, and none that stays behind."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.simulate import Detector, header
from cryofs.compress import movie_executor
from cryofs.compress.movie_task import Archiver, CompressOptions
from cryofs.compress.plan import Coding
from cryofs.errors import FormatError
from cryofs.execution.preload import prepare
from cryofs.formats.record import Record
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.storage.atomic_file import OWN_PREFIX
from tests.support import SHAPE, Reported, archive, assert_verified, names, restored, same_tree, simulated, wait_for

# `cryofs` as it is for large runs
COMMAND = """
from cryofs.cli import main
from cryofs.compress import movie_executor
movie_executor._WORTH_PROCESSES = 0
main()
"""
TWO = CompressOptions(jobs=2)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a movie was stored by the process that hands them out")

    monkeypatch.setattr(movie_executor, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(Archiver, "store", never)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Three movies that take a moment each."""
    folder = tmp_path / "session"
    for number in range(3):
        simulated(folder / "Movies" / f"{number}.mrc", frames=40, seed=number)
    return folder


class Run:
    """A run in a session of its own, two movies at a time."""

    def __init__(self, session: Path, target: Path):
        arguments = ["compress", str(session), "-o", str(target), "--jobs", "2", "--gain", "none"]
        command = [sys.executable, "-c", COMMAND, *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.errors = ""
        self.server = 0

    def workers(self) -> list[int]:
        """Processes that store movies, living ones, whether their parent lives or not."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, parent, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
                is_theirs = b"forkserver" in (place / "cmdline").read_bytes() and int(session) == self.process.pid
                # the run's own child is the one that they are forked from
                if is_theirs and int(parent) == self.process.pid:
                    self.server = int(place.name)
                elif is_theirs and state not in "ZX":
                    found.append(int(place.name))
        return [worker for worker in found if worker != self.server]

    def worker_awake(self) -> int | None:
        """A worker that has got as far as to say what SIGINT shall do to it."""
        for worker in self.workers():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{worker}/status").read_text().splitlines()
                sets = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
                if any(signals >> (signal.SIGINT - 1) & 1 for signals in sets):
                    return worker
        return None

    def worker_with(self, name: str) -> int | None:
        """A worker that has a file open whose name begins so."""
        for worker in self.workers():
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{worker}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if link.readlink().name.startswith(name):
                            return worker
        return None

    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self) -> int:
        """Exit code, once it has ended."""
        self.errors = self.process.communicate(timeout=120)[1]
        return self.process.returncode


@pytest.fixture
def start() -> Iterator[Callable[[Path, Path], Run]]:
    """What starts a run, of which nothing is left alive."""
    runs: list[Run] = []

    def begin(session: Path, target: Path) -> Run:
        runs.append(Run(session, target))
        return runs[-1]

    yield begin
    for run in runs:
        for process in (*run.workers(), *([run.process.pid] if run.running() else [])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        run.process.communicate()


def assert_whole(target: Path) -> None:
    """Assert that all files under a final name are archived movies that verify."""
    movies = [name for name in names(target) if OWN_PREFIX not in name] if target.exists() else []
    assert all(name.endswith(".tif") for name in movies)
    if movies:
        assert_verified(target, len(movies))


@pytest.mark.usefixtures("several")
def test_all_movies_come_back_and_all_frames_are_reported(tmp_path: Path) -> None:
    session = tmp_path / "session"
    other = Detector.make(SHAPE, defects=20, seed=77)
    for number in range(2):
        simulated(session / "a" / f"{number}.mrc", frames=20, seed=number)
        simulated(session / "b" / f"{number}.mrcs", frames=20, seed=number, detector=other)
    counts = np.random.default_rng(0).poisson(1, (9, 50, 33)).astype("<i2")
    (session / "counts.mrc").write_bytes(header((9, 50, 33), 1) + counts.tobytes())
    (session / "notes.txt").write_text("300 kV")
    summary, reported = archive(session, tmp_path / "archive", TWO)
    assert not reported.errors
    assert reported.counted_frames == reported.expected_frames == 4 * 20 + 9
    assert sorted(reported.done) == [
        Path(name) for name in ("a/0.mrc.tif", "a/1.mrc.tif", "b/0.mrcs.tif", "b/1.mrcs.tif", "counts.mrc.tif")
    ]
    assert summary.movies == 5
    assert summary.stored_bytes == sum(path.stat().st_size for path in (tmp_path / "archive").rglob("*.tif"))
    assert summary.original_bytes == sum(path.stat().st_size for path in session.rglob("*.mrc*"))
    assert len(list((tmp_path / "archive").glob("gain-reference*.mrc"))) == 2
    assert_verified(tmp_path / "archive", 5)
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


def test_movies_are_stored_as_one_process_stores_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def records(target: Path, worth: int) -> dict[str, Record]:
        monkeypatch.setattr(movie_executor, "_WORTH_PROCESSES", worth)
        _, reported = archive(tmp_path / "session", target, TWO)
        assert not reported.errors
        return {name: untouched(target / name) for name in names(target) if name.endswith(".tif")}

    def untouched(path: Path) -> Record:
        with ArchivedMovie(path, GainLibrary()) as movie:
            original = msgspec.structs.replace(movie.record.original, atime_ns=0)
            return msgspec.structs.replace(movie.record, original=original)

    for number in range(3):
        simulated(tmp_path / "session" / f"{number}.mrc", seed=number)
    several = records(tmp_path / "several", 0)
    assert len(several) == 3
    assert several == records(tmp_path / "one", 1 << 30)


@pytest.mark.usefixtures("several")
def test_frames_done_again_are_reported_once(tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    for number, late in enumerate((0, 2, 5)):
        values = np.random.default_rng(number).poisson(2, (9, 300, 20)).astype("<i2")
        values[late, 150, 7] = 300  # in no sample
        movie = header((9, 300, 20), 1) + values.tobytes()
        (tmp_path / "session" / f"{number}.mrc").write_bytes(movie)
    options = CompressOptions(coding=Coding(narrow="exact"), jobs=2)
    _, reported = archive(tmp_path / "session", tmp_path / "archive", options)
    assert reported.counted_frames == reported.expected_frames == 3 * 9
    assert_verified(tmp_path / "archive", 3)


@pytest.mark.usefixtures("several")
def test_bad_movies_fail_in_their_process_and_the_rest_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    for number in range(3):
        simulated(session / f"good-{number}.mrc", seed=number)
    cut, blocked = simulated(session / "cut.mrc"), simulated(session / "blocked.mrc")
    (target / "blocked.mrc.tif" / "in the way").mkdir(parents=True)
    begin = Reported.begin

    def cut_short(self: Reported, movies: int, frames: int) -> None:
        os.truncate(cut, cut.stat().st_size - 1)
        begin(self, movies, frames)

    monkeypatch.setattr(Reported, "begin", cut_short)
    summary, reported = archive(session, target, TWO)
    assert (summary.movies, summary.failed) == (3, 2)
    assert isinstance(reported.errors[cut], FormatError)
    assert "name already taken by another file" in str(reported.errors[blocked])
    assert names(target) == ["gain-reference.mrc", *(f"good-{number}.mrc.tif" for number in range(3))]
    assert_verified(target, 3)


def test_a_movie_whose_process_was_killed_is_stored_by_another(
    tmp_path: Path, session: Path, start: Callable[[Path, Path], Run]
) -> None:
    run = start(session, tmp_path / "archive")
    os.kill(wait_for(lambda: run.worker_with(OWN_PREFIX)), signal.SIGKILL)
    assert run.wait() == 0, run.errors
    assert_verified(tmp_path / "archive", 3)


def test_a_movie_that_kills_every_process_fails_alone(
    tmp_path: Path, session: Path, start: Callable[[Path, Path], Run]
) -> None:
    run = start(session, tmp_path / "archive")
    while run.running():
        if worker := run.worker_with("1.mrc"):
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.001)
    assert run.wait() == 1
    (line,) = (line for line in run.errors.splitlines() if line.startswith("cryofs: "))
    assert "1.mrc: worker process died" in line
    assert [name for name in names(tmp_path / "archive") if name.endswith(".tif")] == [
        "Movies/0.mrc.tif",
        "Movies/2.mrc.tif",
    ]
    assert_verified(tmp_path / "archive", 2)


def test_ctrl_c_ends_all_processes_and_leaves_no_half_a_file(
    tmp_path: Path, session: Path, start: Callable[[Path, Path], Run]
) -> None:
    run = start(session, tmp_path / "archive")
    wait_for(lambda: run.worker_with(OWN_PREFIX))
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait() not in (0, 1)
    assert not run.workers()
    assert "Traceback" not in run.errors
    assert not list((tmp_path / "archive").rglob(OWN_PREFIX + "*"))
    assert len(names(tmp_path / "archive")) < 3
    assert_whole(tmp_path / "archive")


def test_ctrl_c_while_processes_start_ends_them_quietly(
    tmp_path: Path, session: Path, start: Callable[[Path, Path], Run]
) -> None:
    run = start(session, tmp_path / "archive")
    wait_for(run.worker_awake)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait() not in (0, 1)
    assert not run.workers()
    assert "Traceback" not in run.errors
    assert_whole(tmp_path / "archive")


@pytest.mark.parametrize("begun", [True, False], ids=["storing", "starting"])
def test_no_process_outlives_the_run(
    tmp_path: Path, session: Path, start: Callable[[Path, Path], Run], begun: bool
) -> None:
    run = start(session, tmp_path / "archive")
    wait_for(lambda: run.worker_with(OWN_PREFIX) if begun else run.workers())
    run.process.kill()
    wait_for(lambda: not run.workers())
    assert_whole(tmp_path / "archive")


def test_two_runs_into_one_archive_leave_each_other_whole(
    tmp_path: Path, session: Path, start: Callable[[Path, Path], Run]
) -> None:
    runs = [start(session, tmp_path / "archive") for _ in range(2)]
    for run in runs:
        assert run.wait() == 0, run.errors
    assert_verified(tmp_path / "archive", 3)
    assert not list((tmp_path / "archive").rglob(OWN_PREFIX + "*"))
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


class Refusals:
    """Starts of processes that the system refuses, given by their numbers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: Callable[[int], bool], error: Exception):
        self.started = 0
        really = ForkServerProcess.start

        def start(process: ForkServerProcess) -> None:
            self.started += 1
            if refused(self.started):
                raise error
            really(process)

        monkeypatch.setattr(ForkServerProcess, "start", start)


# the second is what is reported where the process that others are forked from died of it
@pytest.mark.parametrize("error", [BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), EOFError()])
@pytest.mark.usefixtures("several")
def test_a_run_goes_on_with_the_processes_that_it_has(
    tmp_path: Path, session: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (session / "notes.txt").write_text("300 kV")
    refusals = Refusals(monkeypatch, lambda number: number > 1, error)
    summary, reported = archive(session, tmp_path / "archive", TWO)
    assert not reported.errors
    assert (summary.movies, refusals.started) == (3, 2)
    assert reported.counted_frames == reported.expected_frames
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


def test_a_run_without_any_process_stores_movies_itself(
    tmp_path: Path, session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movie_executor, "_WORTH_PROCESSES", 0)
    handler = signal.getsignal(signal.SIGINT)
    refusals = Refusals(monkeypatch, lambda number: number < 3, BlockingIOError(errno.EAGAIN, "not now"))
    summary, reported = archive(session, tmp_path / "archive", TWO)
    assert not reported.errors
    assert summary.movies == 3
    assert refusals.started >= 3
    assert signal.getsignal(signal.SIGINT) is handler
    assert_verified(tmp_path / "archive", 3)


def test_ctrl_c_works_again_after_no_process_could_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise BlockingIOError(errno.EAGAIN, "not now")

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(resource_tracker, "ensure_running", refuse)
    with pytest.raises(BlockingIOError):
        prepare([])
    assert signal.getsignal(signal.SIGINT) is handler
