"""Look after the hidden files of an ingestion where leases do not show who has a file open.

A hidden file is the original of an archived movie. After a day without a change it is removed, if its bytes are those
that the archived movie restores. If it changes before, it gets its name again (`cryofs.storage.hidden_files`).
"""

import time
from collections.abc import Callable
from pathlib import Path

from cryofs.archive.identify import held_movie
from cryofs.errors import CryofsError
from cryofs.storage import changes
from cryofs.storage.atomic_file import regular_file, sync_folder
from cryofs.storage.hashing import hash_file
from cryofs.storage.hidden_files import put_back
from cryofs.storage.journal import Line, read_journal, replace_line

KEPT_SECONDS = 24 * 3600.0


def review(folder: Path, report: Callable[[str], object], now: float | None = None) -> int:
    """Put back the hidden files of a folder that changed, and remove those whose day is over; return how many remain.

    Parameters
    ----------
    report : callable
        Called with a message about each file that was put back.
    now : float, optional
        Seconds since 1970.
    """
    now = time.time() if now is None else now
    left = 0
    for line in read_journal(folder).lines:
        if line.step == "kept" and line.hidden is not None:
            left += _review(folder, line, report, is_over=not 0 <= now - line.since < KEPT_SECONDS)
    return left


def _review(folder: Path, line: Line, report: Callable[[str], object], *, is_over: bool) -> bool:
    """Look after one hidden file; return True if it remains hidden."""
    hidden = folder / (line.hidden or "")
    found = regular_file(hidden)
    if found is None:
        return False  # a recovery removes the line
    if not line.other.matches(found):
        restored = put_back(folder, line)
        report(f"{folder / line.other.name}: changed after it was archived; restored as {restored.name}")
        return False
    if not is_over:
        return True
    archived = folder / line.counts.name
    try:
        record = held_movie(archived)
        is_same = record is not None and hash_file(hidden, lambda _: None).sha256 == record.original.sha256
    except CryofsError as error:
        report(f"{hidden}: not removed ({error})")
        return True
    if not is_same:
        report(f"{hidden}: not removed, because {archived.name} has another original; compare both")
        return True
    changes.disk.remove(hidden)
    sync_folder(folder)
    replace_line(folder, line, None)
    return False
