"""Several movies at once, each in a process of its own: no core waits for another one's interpreter lock.

Processes: the caller hands out movies and hears of frames done; each worker stores one movie at a time and shares
nothing but the archive, as separate runs would. A worker that dies (out of memory, say) costs its movie one more try in
a process alone, and nobody else anything.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path

from cryofs.archive.archiver import Archiver, CompressOptions, Stored
from cryofs.archive.bands import Workers
from cryofs.archive.sources import Job
from cryofs.archive.writer import OnFrame
from cryofs.errors import ArchiveError, CryofsError

_PR_SET_PDEATHSIG = 1
# Fresh processes: a copy of one that has threads might inherit a lock that nobody will open.
_CONTEXT = multiprocessing.get_context("spawn")

Outcome = tuple[Job, Stored | Exception]


class _StoppedError(BaseException):
    """The run is being stopped, by Ctrl-C say; a movie that is under way is given up."""


@dataclass
class _Worker:
    """What a worker process knows; its archiver is made with the first movie, when all references are there."""

    archive: Path
    options: CompressOptions
    threads: int
    frames: "SimpleQueue[int | None]"
    stopping: Event
    parent: int
    archiver: Archiver | None = None

    def store(self, job: Job) -> Stored:
        if self.archiver is None:
            pool = ThreadPoolExecutor(self.threads)
            self.archiver = Archiver(self.archive, self.options, Workers(pool, self.threads))
        return self.archiver.store(job, self._on_frame)

    def _on_frame(self, count: int) -> None:
        if self.stopping.is_set():
            raise _StoppedError
        self.frames.put(count)


_worker: _Worker


def store_all(
    jobs: Sequence[Job], archive: Path, options: CompressOptions, processes: int, on_frame: OnFrame
) -> Iterator[Outcome]:
    """Store movies, several at a time; each outcome as soon as it is known."""
    threads = max(1, options.jobs // processes)
    frames: SimpleQueue[int | None] = _CONTEXT.SimpleQueue()
    stopping = _CONTEXT.Event()
    listening = threading.Thread(target=_listen, args=(frames, on_frame), name="frames", daemon=True)
    listening.start()
    initial = (_Worker(archive, options, threads, frames, stopping, os.getpid()),)
    unlucky = []
    try:
        for job, outcome in _run(jobs, processes, initial, stopping):
            if isinstance(outcome, BrokenProcessPool):
                unlucky.append(job)
            else:
                yield job, outcome
        for job in unlucky:
            for _, outcome in _run([job], 1, initial, stopping):
                died = isinstance(outcome, BrokenProcessPool)
                yield (
                    job,
                    ArchiveError(f"{job.source}: the process that stored it died; is memory short?")
                    if died
                    else outcome,
                )
    finally:
        frames.put(None)
        listening.join()


def _run(jobs: Sequence[Job], processes: int, initial: tuple[_Worker], stopping: Event) -> Iterator[Outcome]:
    """Store movies in a pool of processes; where one dies, all movies that are not done have that outcome."""
    with ProcessPoolExecutor(processes, _CONTEXT, _start_worker, initial) as pool:
        with _interrupts_blocked():
            futures: dict[Future[Stored], Job] = {pool.submit(_store, job): job for job in jobs}
        try:
            for done in as_completed(futures):
                error = done.exception()
                if error is None:
                    yield futures[done], done.result()
                elif isinstance(error, CryofsError | OSError | BrokenProcessPool):
                    yield futures[done], error
                else:
                    raise error
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Have processes that are started here never hear of Ctrl-C, which reaches all processes of a terminal.

    The one that hands out the movies hears of it afterwards, and stops the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listen(frames: "SimpleQueue[int | None]", on_frame: OnFrame) -> None:
    while (count := frames.get()) is not None:
        on_frame(count)


def _start_worker(worker: _Worker) -> None:
    global _worker
    _worker = worker
    with contextlib.suppress(OSError, AttributeError):
        # end with the parent, however it ends
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker.parent:
        os._exit(1)


def _store(job: Job) -> Stored:
    return _worker.store(job)
