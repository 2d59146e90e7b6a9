"""A session on a writable mount: movies arrive, are read and corrected for motion, and are archived meanwhile.

Every read is compared with the bytes that were written. The gain of the detector changes once, in the middle. The same
session without archiving shows what archiving costs readers.
"""

import itertools
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import mounts
from benchmarks.competitors import OURS
from benchmarks.figures import RATE, READING_NOTE, Reading
from benchmarks.measure import CRYOFS, run
from benchmarks.mount_processes import MountProcesses
from benchmarks.reading_relion import MOTION_PROGRAM, write_star
from benchmarks.readings import SESSION, Readings
from benchmarks.simulate import K2_DEFECTS, K2_SHAPE, Detector, write_movie

WITHOUT = "without archiving"
# different movies of each gain; a movie of the session differs from its source in the header
_SOURCES = 4
_GAINS = 2
# byte of the header at which the number of the movie is written, within the labels
_NUMBER_AT = 944
_BLOCK = 1 << 20
_LOOK_SECONDS = 0.25
_LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Plan:
    """A session.

    Parameters
    ----------
    movies, frames : int
        Number of movies, and of their frames.
    shape : tuple of int
        Rows and columns.
    interval : float
        Seconds from the arrival of a movie to the next.
    settle : float
        Setting of the mount.
    corrected : int
        Motion is corrected in each movie whose number is a multiple of it; 0: in none.
    has_references : bool
        Whether the archive has the gain references from the start; otherwise the mount estimates them from the movies.
    """

    movies: int = 40
    frames: int = 10
    shape: tuple[int, int] = K2_SHAPE
    interval: float = 5.0
    settle: float = 5.0
    corrected: int = 8
    has_references: bool = True


@dataclass
class Course:
    """What happened in a session: bytes and seconds of reads, waiting movies, memory in bytes."""

    first_reads: list[tuple[int, float]] = field(default_factory=list)
    later_reads: list[tuple[int, float]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    motion_seconds: list[float] = field(default_factory=list)
    core_seconds: float = 0.0
    left_seconds: float = 0.0


def hold_session(folder: Path, plan: Plan, notes: list[str]) -> list[Reading]:
    """Hold a session with and without archiving; exit at the first wrong byte."""
    sources = make_sources(folder / "sources", plan)
    if plan.corrected and (why_not := mounts.missing(MOTION_PROGRAM)):
        notes.append(f"{READING_NOTE}{SESSION}: {why_not}.")
    readings = Readings(SESSION)
    references = make_references(folder, sources) if plan.has_references else []
    for way, settle in ((OURS, plan.settle), (WITHOUT, 86400.0)):
        course = _Session(folder / "session", sources, plan, settle, references).hold(is_archiving=way == OURS)
        _add(readings, way, course, plan)
    return readings.all()


def _add(readings: Readings, way: str, course: Course, plan: Plan) -> None:
    for what, reads in (("each movie as it arrives", course.first_reads), ("earlier movies", course.later_reads)):
        for size, seconds in reads:
            readings.add(f"reading {what}", way, RATE, size / seconds / 1e9)
    for seconds in course.arrivals:
        readings.add("writing a movie", way, "s", seconds)
    for seconds in course.motion_seconds:
        readings.add(f"{MOTION_PROGRAM} --use_own, one movie", way, "s", seconds)
    readings.add("memory of mount and archiving, highest", way, "GB", max(course.memory) / 1e9)
    readings.add("core-seconds for a movie", way, "s", course.core_seconds / plan.movies)
    if way == OURS:
        readings.add("movies that wait to be archived, most", way, "movies", max(course.waiting))
        readings.add("until all are archived after the last arrived", way, "s", course.left_seconds)


def make_sources(folder: Path, plan: Plan) -> list[Path]:
    """Write the different movies of the session, those of the first gain first; keep existing ones."""
    folder.mkdir(parents=True, exist_ok=True)
    ny, nx = plan.shape
    sources = []
    for gain, number in itertools.product(range(_GAINS), range(min(_SOURCES, plan.movies))):
        path = folder / f"{gain}-{number}.mrc"
        sources.append(path)
        if not path.exists():
            detector = Detector.make(plan.shape, K2_DEFECTS * ny * nx // (K2_SHAPE[0] * K2_SHAPE[1]), seed=1 + gain)
            draft = path.with_suffix(".draft")
            write_movie(draft, detector, plan.frames, seed=10 * gain + number)
            draft.rename(path)
    return sources


def make_references(folder: Path, sources: list[Path]) -> list[Path]:
    """Estimate the gain references of the movies; keep existing ones."""
    archive = folder / "references"
    if not archive.exists():
        run([*CRYOFS, "compress", *sources, "-o", archive], folder)
        for path in archive.glob("*.mrc.tif"):
            path.unlink()
    return sorted(archive.glob("gain-reference*.mrc"))


class _Session:
    """One session; its writer, its reader and its program run in threads, and stop it by their exceptions."""

    def __init__(self, folder: Path, sources: list[Path], plan: Plan, settle: float, references: Sequence[Path] = ()):
        self._folder, self._sources, self._plan, self._settle = folder, sources, plan, settle
        self._references = references
        self._archive, self._mount = folder / "archive", folder / "mount"
        self._course = Course()
        self._last_arrival = 0.0
        self._arrived: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._corrections: list[Future[None]] = []

    def hold(self, *, is_archiving: bool) -> Course:
        """Return what happened."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._archive.mkdir(parents=True)
        for path in self._references:
            shutil.copy(path, self._archive)
        options = ("--writable", "-o", f"settle={self._settle:g}")
        with mounts.cryofs(self._archive, self._mount, *options):
            processes = MountProcesses(self._mount)
            used = processes.core_seconds()
            with ThreadPoolExecutor(4) as threads, self._watched(processes):
                work = [threads.submit(self._read), threads.submit(self._write, threads)]
                for done in work:
                    done.result()
                if is_archiving:
                    self._wait()
                    self._course.left_seconds = time.monotonic() - self._last_arrival
                for done in self._corrections:
                    done.result()
            self._course.core_seconds = processes.core_seconds() - used
            for number in range(self._plan.movies):
                self._check(number)
        self._compare_corrected()
        shutil.rmtree(self._folder)
        return self._course

    def _name(self, number: int) -> str:
        return f"movie-{number:03}.mrc"

    def _source(self, number: int) -> Path:
        gain = number * _GAINS // self._plan.movies
        each = len(self._sources) // _GAINS
        return self._sources[gain * each + number % each]

    def _blocks(self, number: int) -> Iterator[bytes]:
        """Yield the bytes of a movie of the session."""
        with self._source(number).open("rb", buffering=0) as file:
            first = bytearray(file.read(_BLOCK))
            label = f"{number:016}".encode()
            first[_NUMBER_AT : _NUMBER_AT + len(label)] = label
            yield bytes(first)
            while block := file.read(_BLOCK):
                yield block

    def _write(self, threads: ThreadPoolExecutor) -> None:
        try:
            begun = time.monotonic()
            for number in range(self._plan.movies):
                time.sleep(max(0.0, begun + number * self._plan.interval - time.monotonic()))
                started = time.monotonic()
                with (self._mount / self._name(number)).open("wb", buffering=0) as file:
                    for block in self._blocks(number):
                        file.write(block)
                self._last_arrival = time.monotonic()
                self._course.arrivals.append(self._last_arrival - started)
                self._arrived.put(number)
                if self._is_corrected(number):
                    self._corrections.append(threads.submit(self._correct, number))
        finally:
            self._arrived.put(None)

    def _read(self) -> None:
        """Read each movie as it arrives, and after it one that arrived half a session earlier at most."""
        while (number := self._arrived.get()) is not None:
            self._course.first_reads.append(self._check(number))
            if earlier := number // 2:
                self._course.later_reads.append(self._check(earlier))

    def _check(self, number: int) -> tuple[int, float]:
        """Read a movie and compare all bytes; return its size and the seconds of the reads."""
        seconds, offset = 0.0, 0
        with (self._mount / self._name(number)).open("rb", buffering=0) as file:
            for expected in self._blocks(number):
                started = time.perf_counter()
                found = file.read(_BLOCK)
                seconds += time.perf_counter() - started
                if found != expected:
                    sys.exit(f"{self._name(number)}: wrong bytes from offset {offset}")
                offset += len(found)
            if file.read(1):
                sys.exit(f"{self._name(number)}: longer than written")
        return offset, seconds

    def _is_corrected(self, number: int) -> bool:
        corrected = self._plan.corrected
        return bool(corrected) and (number + 1) % corrected == 0 and mounts.missing(MOTION_PROGRAM) is None

    def _correct(self, number: int) -> None:
        """Correct the motion of a movie with RELION, at the same priority as the reader."""
        star = self._folder / f"{number}.star"
        write_star(star, self._mount / self._name(number))
        command = f"{MOTION_PROGRAM} --use_own --i {star.name} --o {self._result(number).name}/ --j 1"
        command += " --patch_x 1 --patch_y 1 --dose_per_frame 1.45"
        started = time.monotonic()
        done = subprocess.run(command.split(), cwd=self._folder, capture_output=True, text=True, check=False)
        self._course.motion_seconds.append(time.monotonic() - started)
        if done.returncode:
            sys.exit(f"{MOTION_PROGRAM} failed on {self._name(number)}:\n{done.stdout}{done.stderr}")

    def _result(self, number: int) -> Path:
        return self._folder / f"motion-{number}"

    def _compare_corrected(self) -> None:
        """Compare the corrected images of movies with the same source."""
        images: dict[Path, bytes] = {}
        for number in filter(self._is_corrected, range(self._plan.movies)):
            (path,) = self._result(number).rglob("movie-*.mrc")
            pixels = path.read_bytes()[1024:]
            if images.setdefault(self._source(number), pixels) != pixels:
                sys.exit(f"{self._name(number)}: the corrected image differs from that of the same movie")

    def _left(self) -> int:
        """Return how many plain movies the archive has."""
        return sum(name.endswith(".mrc") and name.startswith("movie-") for name in os.listdir(self._archive))

    def _wait(self) -> None:
        until = time.monotonic() + _LIMIT_SECONDS
        while self._left():
            if time.monotonic() > until:
                sys.exit(f"{self._left()} movies were not archived; see the log of the mount")
            time.sleep(_LOOK_SECONDS)

    @contextmanager
    def _watched(self, processes: MountProcesses) -> Iterator[None]:
        """Note memory and waiting movies in the background."""
        ended = threading.Event()

        def look() -> None:
            while True:
                self._course.memory.append(processes.memory())
                self._course.waiting.append(self._left())
                if ended.wait(_LOOK_SECONDS):
                    return

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()
