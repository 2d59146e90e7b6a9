"""Report a full disk, with the number of unfinished sources and the space they need."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from cryofs.archive.jobs import Job, Kind
from cryofs.errors import FullDiskError
from cryofs.text import size_text

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    """Return True if an OSError means that the disk is full or a quota is exceeded."""
    return error.errno in _FULL


def full_disk(archive: Path, reason: str, jobs: Iterable[Job], ratio: float | None) -> FullDiskError:
    """Return the error that ends a run, with the number of unfinished sources and an estimate of the needed space.

    Parameters
    ----------
    jobs : iterable of Job
        Unfinished sources.
    ratio : float or None
        Ratio of the stored to the original size of the finished movies; None if no movie is finished.
    """
    waiting = list(jobs)
    need = sum(_size(job) * (_share(job, ratio)) for job in waiting)
    free = _free_bytes(archive)
    files = "1 file is" if len(waiting) == 1 else f"{len(waiting)} files are"
    about = "about" if ratio is not None else "at most"
    if free is not None and need > free:
        what = f"{about} {size_text(need - free)} more space needed"
    else:
        # part of the free space is beyond a quota or reserved for root
        what = f"{about} {size_text(need)} needed, but part of the free space is not usable"
    return FullDiskError(f"{archive}: {reason}, {files} not done ({what})")


def _share(job: Job, ratio: float | None) -> float:
    is_movie = job.kind.is_movie
    return ratio if is_movie and ratio is not None else 1.0


def _size(job: Job) -> int:
    if job.kind is Kind.LINK:
        return 0
    try:
        return job.source.stat().st_size
    except OSError:
        return 0


def _free_bytes(archive: Path) -> int | None:
    for folder in (archive, *archive.absolute().parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None
