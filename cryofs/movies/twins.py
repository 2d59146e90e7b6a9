"""Decide which of two files of one name counts: the plain file `X.mrc`, or the archived movie `X.mrc.tif`.

While a step is under way both may exist, and the journal of the folder says which counts. Without a line for both, the
archived movie counts if the plain file has the size and mtime that the record gives for the original. Otherwise neither
does: reading `X.mrc` is an error, and nothing removes either file unless their decoded bytes are equal. Nothing is
decoded to decide.
"""

import os
from enum import Enum
from pathlib import Path

from cryofs.errors import DamagedError
from cryofs.formats.archive_names import archived_name, archived_path, is_movie_name, original_name
from cryofs.formats.record import Original
from cryofs.storage.journal import Journal


class Counts(Enum):
    """Which of two files counts."""

    PLAIN = "plain file"
    ARCHIVED = "archived movie"
    NEITHER = "neither"


def which_counts(
    journal: Journal, plain_name: str, plain: os.stat_result, archived: os.stat_result, original: tuple[int, int]
) -> Counts:
    """Return which of two files counts.

    Parameters
    ----------
    journal : Journal
        Journal of their folder.
    plain_name : str
        Name of the plain file.
    original : tuple of int
        Size and mtime_ns of the original, from the record of the archived movie.
    """
    found = {plain_name: plain, archived_name(plain_name): archived}
    for line in journal.about(*found):
        if line.counts.matches(found[line.counts.name]) and line.other.matches(found[line.other.name]):
            return Counts.PLAIN if line.counts.name == plain_name else Counts.ARCHIVED
    return Counts.ARCHIVED if original == (plain.st_size, plain.st_mtime_ns) else Counts.NEITHER


def size_and_time(original: Original) -> tuple[int, int]:
    """Return size and mtime_ns of an original."""
    return original.bytes, original.mtime_ns


def twin_of(path: Path) -> Path | None:
    """Return the path of the other form of a movie, plain or archived, or None for all other names."""
    original = original_name(path.name)
    if original is not None:
        return path.with_name(original)
    return archived_path(path) if is_movie_name(path.name) else None


def conflict(plain: object, archived: object) -> DamagedError:
    """Return the error for a plain file and an archived movie of which neither counts."""
    return DamagedError(
        f"{plain}: differs from the original of {archived}, which has the same name; compare both, then rename one"
    )
