"""Several movies at once, each in a process of its own: no core waits for another one's interpreter lock.

Processes: the run hands out movies and hears of frames done, over a pipe to each worker, which nobody shares. A worker
stores one movie at a time, as a separate run would. A worker that dies (out of memory, say) costs its movie one more
try, alone, and nobody else anything. A run that ends, however it ends, closes its ends of the pipes; a worker notices
with its next frame and gives its movie up.
"""

import contextlib
import functools
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from cryofs.archive.scan import Job
from cryofs.compress.movie_task import Archiver, CompressOptions, Stored
from cryofs.compress.row_blocks import Workers
from cryofs.compress.writer import OnFrame
from cryofs.errors import ArchiveError, CryofsError
from cryofs.storage import atomic_file

# Workers are forked from a process that has no threads: a copy of one that has might inherit a lock that nobody opens.
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["cryofs.compress.preload"]

Outcome = tuple[Job, Stored | Exception]


class NoProcessError(ArchiveError):
    """There is no worker to store a movie, and none can be started."""


class _StoppedError(BaseException):
    """The run has ended, by Ctrl-C say; the movie that is under way is given up."""


@dataclass
class _Worker:
    """A worker as the run knows it: the movie that it stores, and how many frames of it were told."""

    process: ForkServerProcess
    pipe: "Connection[Job, int | Stored | Exception]"
    job: Job
    told: int = 0

    def give(self, job: Job) -> None:
        """Hand out a movie; that a worker is dead is noticed later, when it should answer."""
        self.job, self.told = job, 0
        with contextlib.suppress(OSError):
            self.pipe.send(job)

    def end(self) -> None:
        """Wait until it has noticed that there is nothing more to do."""
        self.pipe.close()
        self.process.join()


def prepare() -> None:
    """Begin to load what workers need, in the process that they are forked from, while the run looks at its movies.

    Raises
    ------
    OSError
        No processes can be had, for example because the path of the temporary folder is too long for a socket.
    """
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    with _interrupts_held():
        forkserver.ensure_running()


def store_all(
    jobs: Sequence[Job], archive: Path, options: CompressOptions, processes: int, on_frame: OnFrame
) -> Iterator[Outcome]:
    """Store movies, several at a time; each outcome as soon as it is known.

    While a movie's outcome is NoProcessError, no other is being stored, so that the run may store it by itself.
    """
    unlucky = []
    for job, outcome in _run(jobs, archive, options, processes, on_frame):
        if outcome is None:
            unlucky.append(job)
        else:
            yield job, outcome
    for job in unlucky:
        for _, outcome in _run([job], archive, options, 1, on_frame):
            yield job, outcome or ArchiveError(f"{job.source}: the process that stored it died; is memory short?")
        atomic_file.remove_stale_drafts((archive / job.target).parent)


def _run(
    jobs: Sequence[Job], archive: Path, options: CompressOptions, processes: int, on_frame: OnFrame
) -> Iterator[tuple[Job, Stored | Exception | None]]:
    """Store movies by so many workers, or by fewer where no more can be had; None for a movie whose worker died."""
    threads = max(1, options.jobs // processes)
    waiting = deque(jobs)
    workers: dict[object, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                try:
                    worker = _start(waiting[0], archive, options, threads)
                except (OSError, EOFError) as error:
                    if workers:
                        processes = len(workers)
                    else:
                        job = waiting.popleft()
                        yield job, NoProcessError(f"{job.source}: no process can be started to store it ({error})")
                else:
                    waiting.popleft()
                    workers[worker.pipe] = worker
            for pipe in wait([worker.pipe for worker in workers.values()]):
                worker = workers[pipe]
                answer = _answer(worker)
                if isinstance(answer, int):
                    worker.told += answer
                    on_frame(answer)
                    continue
                if answer is None:
                    on_frame(-worker.told)
                job = worker.job
                if waiting and answer is not None:
                    worker.give(waiting.popleft())
                else:
                    workers.pop(pipe).end()
                yield job, answer
    finally:
        for worker in workers.values():
            worker.pipe.close()
        for worker in workers.values():
            worker.end()


def _start(job: Job, archive: Path, options: CompressOptions, threads: int) -> _Worker:
    """Start a worker with its first movie; EOFError where the process that it is forked from died of it."""
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_work, args=(theirs, archive, options, threads))
    try:
        with theirs, _interrupts_held():
            process.start()
    except (OSError, EOFError):
        ours.close()
        raise
    worker = _Worker(process, ours, job)
    worker.give(job)
    return worker


def _answer(worker: _Worker) -> int | Stored | Exception | None:
    """What a worker says next; None where it is dead."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        return None


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hear of Ctrl-C only afterwards, and have a process that is started meanwhile never hear of it."""
    heard: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number)) if in_main else None
    try:
        # the library's helper process, which would come with the first process and unblock the signal
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
    if heard:
        raise KeyboardInterrupt


def _work(
    pipe: "Connection[int | Stored | Exception, Job]", archive: Path, options: CompressOptions, threads: int
) -> None:
    """Store movies until the run ends: a worker's whole life."""

    def on_frame(count: int) -> None:
        # nothing comes from a run that waits for an answer but its end
        if pipe.poll():
            raise _StoppedError
        pipe.send(count)

    @functools.cache
    def archiver() -> Archiver:
        # made with the first movie, when all references are there
        return Archiver(archive, options, Workers(pool, threads))

    def store(job: Job) -> Stored | Exception:
        try:
            return archiver().store(job, on_frame)
        except (CryofsError, OSError) as error:
            return error

    with contextlib.suppress(EOFError, ConnectionError, _StoppedError), ThreadPoolExecutor(threads) as pool:
        while True:
            job = pipe.recv()
            pipe.send(store(job))
