"""Make drafts one after the other in this process, or several at a time in worker processes."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.execution.executor import OnProgress
from cryofs.execution.messages import Done, Failed
from cryofs.execution.preload import prepare
from cryofs.execution.processes import DiedError, NoProcessError, Processes
from cryofs.execution.threads import InTurn
from cryofs.ingest.draft import DraftOptions, MakeDrafts, Ready

# Starting processes takes as long as archiving a gigabyte.
_WORTH_PROCESSES = 1 << 30
_PRELOADED = ["cryofs.compress.preload"]


class Drafts:
    """Maker of the drafts of one search; `jobs` is the number of cores, the rest as for `MakeDrafts`."""

    def __init__(self, archive: Path, options: DraftOptions, jobs: int, without_gain: frozenset[Path]):
        self._archive = archive
        self._options = options
        self._jobs = jobs
        self._without_gain = without_gain

    def make(
        self, plain: Sequence[Path], total_bytes: int, on_progress: OnProgress
    ) -> Generator[tuple[Path, Done[Ready] | Failed], None, None]:
        """Yield each plain movie with its draft, or with the error; report progress in frames.

        If the caller closes the iterator early, drafts under way are abandoned.
        """
        count = min(self._jobs, len(plain))
        if count > 1 and total_bytes >= _WORTH_PROCESSES and _can_start():
            yield from self._in_processes(plain, count, on_progress)
        else:
            yield from InTurn().run(self._maker(self._jobs), plain, on_progress)

    def _in_processes(
        self, plain: Sequence[Path], count: int, on_progress: OnProgress
    ) -> Generator[tuple[Path, Done[Ready] | Failed], None, None]:
        make = self._maker(max(1, self._jobs // count))
        for path, outcome in Processes(count).run(make, plain, on_progress):
            match outcome:
                case Failed(NoProcessError()):
                    yield from InTurn().run(self._maker(self._jobs), [path], on_progress)
                case Failed(DiedError()):
                    text = f"{path}: worker process died, possibly out of memory; reduce --jobs"
                    yield path, Failed(ArchiveError(text))
                case _:
                    yield path, outcome

    def _maker(self, threads: int) -> MakeDrafts:
        return MakeDrafts(self._archive, replace(self._options, threads=threads), self._without_gain)


def _can_start() -> bool:
    try:
        prepare(_PRELOADED)
    except OSError:
        return False
    return True
