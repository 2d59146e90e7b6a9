"""Hash files of an archive and add the checksums to checksum lists."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from cryofs.archive.progress import Counting, OnFile, OnFrame, as_cryofs_error, report_failure
from cryofs.errors import CryofsError
from cryofs.execution.executor import Report
from cryofs.execution.messages import Done, Failed
from cryofs.execution.threads import Threads
from cryofs.storage.checksum_lists import ChecksumLists
from cryofs.storage.hashing import Hashed, hash_file
from cryofs.storage.leases import check_no_writer


class Figures(Counting, Protocol):
    """Counts of files in a run; `files` counts those that got a checksum."""

    files: int


def record_checksums(paths: Iterable[Path], jobs: int, done: Figures, on_file: OnFile, on_done: OnFrame) -> None:
    """Hash files, `jobs` at a time, and add each checksum to the list of its folder; report failed files."""

    def recorded(path: Path) -> None:
        done.files += 1
        on_file(path, None)

    def failed(path: Path, error: CryofsError | OSError) -> None:
        done.failed += 1
        on_file(path, as_cryofs_error(error, path))

    hashing = Threads(jobs).run(_hash_finished, paths)
    with ChecksumLists(recorded, failed) as lists, contextlib.closing(hashing) as outcomes:
        for path, outcome in outcomes:
            match outcome:
                case Done(hashed):
                    lists.add(path, hashed.sha256, hashed.found, own=True)
                case Failed(error):
                    report_failure(path, error, done, on_file)
            on_done(1)


def _hash_finished(path: Path, on_bytes: Report) -> Hashed:
    with path.open("rb") as file:
        check_no_writer(file.fileno(), path)
    return hash_file(path, on_bytes)
