"""Decide which plain movies of an archive are finished.

A movie is finished when its status has not changed for some time (ctime), its name is that of a movie, and its size is
that which its header gives. A movie that looks finished too early costs work and nothing else, because it is compared
again before it is replaced.
"""

import os
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryofs.errors import ChangedError, FormatError, TruncatedError
from cryofs.formats.archive_names import archived_name
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.checksum_lists import ListReader
from cryofs.system.paths import LONGEST_NAME


class Verdict(Enum):
    """What to do with a plain movie."""

    READY = "ready"
    WAIT = "wait"
    KEEP = "keep"
    KEPT = "kept"


@dataclass(frozen=True)
class Judged:
    """The verdict on a plain movie, and the reason.

    Attributes
    ----------
    bytes, frames : int
        Size and number of frames of a movie that is ready.
    """

    verdict: Verdict
    reason: str = ""
    bytes: int = 0
    frames: int = 0


def judge(path: Path, lists: ListReader, settle: float, used: Collection[Path] = ()) -> Judged:
    """Return the verdict on a file with the name of a movie.

    Parameters
    ----------
    lists : ListReader
        Reader of checksum lists, which name the files that stay plain.
    settle : float
        Seconds since the last change of a finished file.
    used : collection of Path
        Files that stay plain because the settings name them.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        return Judged(Verdict.KEPT, "not a regular file")
    if len(os.fsencode(archived_name(path.name))) > LONGEST_NAME:
        return Judged(Verdict.KEPT, "name too long for an archived movie (more than 251 bytes)")
    if lists.is_seen(path, found):
        return Judged(Verdict.KEPT, "not a movie, or hardly smaller as one")
    if any(_is_same(found, one) for one in used):
        return Judged(Verdict.KEPT, "a gain reference of the settings")
    age = time.time() - found.st_ctime
    if age < settle:
        return Judged(Verdict.WAIT, f"changed {max(age, 0):.0f} s ago")
    if found.st_nlink > 1:
        return Judged(Verdict.WAIT, f"{found.st_nlink} hard links")
    try:
        with MrcMovie(path) as movie:
            surplus = movie.layout.total_bytes - movie.layout.data_end
            if surplus:
                return Judged(Verdict.WAIT, f"{surplus} bytes more than its header gives")
            return Judged(Verdict.READY, "", movie.layout.total_bytes, movie.layout.frames)
    except (TruncatedError, ChangedError) as error:
        return Judged(Verdict.WAIT, str(error))
    except FormatError as error:
        return Judged(Verdict.KEEP, str(error))


def _is_same(found: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(found, path.stat())
    except OSError:
        return False
