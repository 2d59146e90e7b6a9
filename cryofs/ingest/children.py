"""Make drafts for a writable mount in child processes, and give them their names in the mount itself."""

import contextlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Generic

from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, CryofsError
from cryofs.execution.executor import Perform, Report, Result, Task, results
from cryofs.execution.messages import Done, Failed, Progress
from cryofs.execution.preload import prepare
from cryofs.execution.processes import Processes
from cryofs.ingest.draft import DraftOptions, MakeDrafts, Ready
from cryofs.ingest.in_background import inside, outside
from cryofs.ingest.make_references import Answer, MakeReferences, Patience, Request
from cryofs.ingest.publish import publish
from cryofs.storage.atomic_file import remove_stale_drafts
from cryofs.text import percent
from cryofs.vfs.changing import MountParts

# Added to the nice value of children, so that programs go first.
_NICE = 10

log = logging.getLogger("cryofs")


@dataclass
class Nice(Generic[Task, Result]):
    """Task function that runs another one at a low priority."""

    perform: Perform[Task, Result]

    def __call__(self, task: Task, report: Report) -> Result:
        """Run a task."""
        # threads that are started later have the priority of this one
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        return self.perform(task, report)


class Children:
    """Maker of archived movies; one thread uses it.

    Parameters
    ----------
    on_archived : callable
        Called with the place of each archived movie, its original and its stored size.
    """

    def __init__(self, parts: MountParts, settings: Settings, on_archived: Callable[[Path, int, int], None]):
        self._parts = parts
        self._on_archived = on_archived
        self._root = parts.root.path
        self._jobs = settings.ingest_jobs
        # held during a step
        self._step = threading.Lock()
        self._is_stopped = False
        self._options = DraftOptions(gain="none" if settings.gain == "none" else "auto")
        # children are forked from it; without it each child imports everything itself
        with contextlib.suppress(OSError):
            prepare(["cryofs.compress.preload"])

    def archive(
        self, places: Iterator[Path], without_gain: frozenset[Path], check: Callable[[], None]
    ) -> Generator[tuple[Path, Exception | None], None, None]:
        """Yield each place once it is an archived movie, or with the error if it stays a plain file.

        Parameters
        ----------
        places : iterator of Path
            Each is taken when a child is ready for it. Fewer than jobs share these; later ones are left for another
            call.
        without_gain : frozenset of Path
            Those that need not wait for a gain reference.
        check : callable
            Called often; ends the work by an exception.
        """
        first = list(islice(places, self._jobs))
        count = len(first)
        options = replace(self._options, threads=max(1, self._jobs // max(1, count)))
        # a child has no descriptor of the archive, and another path may lead into the mount
        make = Nice(MakeDrafts(outside(self._root), options, frozenset(map(outside, without_gain))))
        folders: set[Path] = set()

        def tasks() -> Iterator[Path]:
            for place in chain(first, places if count == self._jobs else ()):
                folders.add(place.parent)
                yield outside(place)

        def on_progress(_: Progress) -> None:
            check()

        is_clean = False
        try:
            with contextlib.closing(Processes(count).run(make, tasks(), on_progress)) as outcomes:
                has_died = False
                for path, outcome in outcomes:
                    place = inside(path)
                    has_died = has_died or outcome.attempts > 1
                    match outcome:
                        case Done(made):
                            draft = place.with_name(made.draft.name)
                            yield place, self._publish(replace(made, plain=place, draft=draft))
                        case Failed(error):
                            yield place, error
            is_clean = not has_died
        finally:
            if not is_clean:
                _remove_drafts(folders)

    def make_references(self, request: Request, patience: Patience, check: Callable[[], None]) -> Answer:
        """Make the gain references that are due for waiting movies.

        Parameters
        ----------
        check : callable
            Called often; ends the work by an exception.

        Raises
        ------
        CryofsError, OSError
            A reference cannot be written, or the child died.
        """
        make = Nice(MakeReferences(outside(self._root), self._jobs, patience))
        movies = tuple(map(outside, request.movies))
        (answer,) = results(Processes(1).run(make, [replace(request, movies=movies)], lambda _: check()))
        return replace(answer, fitting=tuple(map(inside, answer.fitting)), without=tuple(map(inside, answer.without)))

    def stop(self, seconds: float) -> bool:
        """End the child processes, and wait some seconds for a step that is under way; no other begins afterwards.

        Returns
        -------
        bool
            Whether there were child processes, whose drafts remain to be removed.
        """
        # this process has no other children of this kind
        children = multiprocessing.active_children()
        for child in children:
            child.terminate()
        if self._step.acquire(timeout=seconds):
            self._is_stopped = True
            self._step.release()
        return bool(children)

    def _publish(self, made: Ready) -> Exception | None:
        place, name = made.plain, self._parts.root.name_of(made.plain)
        try:
            with self._step, self._parts.names.changing(place):
                if self._is_stopped:
                    return ChangedError(f"{name}: not archived yet, because the mount ends")
                with self._parts.users(place, made.state, made.draft, made.target) as users:
                    publish(made, users)
        except (CryofsError, OSError) as error:
            return error
        finally:
            made.discard()
        self._on_archived(place, made.state.size, made.stored_bytes)
        ratio = percent(made.stored_bytes / made.state.size)
        log.info("%s: archived (%d bytes stored as %d, %s)", name, made.state.size, made.stored_bytes, ratio)
        return None


def _remove_drafts(folders: set[Path]) -> None:
    """Remove the drafts that dead children left; those of this process are locked."""
    for folder in folders:
        with contextlib.suppress(OSError):
            remove_stale_drafts(folder)
