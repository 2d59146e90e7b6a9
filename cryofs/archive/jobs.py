"""What becomes of each source: jobs, each with its place in the archive."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryofs.errors import CryofsError


class Kind(Enum):
    """What becomes of a source."""

    MOVIE = "movie"
    EER = "EER movie to be rendered"
    FILE = "file"
    LINK = "link"
    FOLDER = "folder"


@dataclass(frozen=True)
class Job:
    """A source and its target, relative to the root of the archive.

    Attributes
    ----------
    link : Path or None
        What a link is to hold, None for what its source holds.
    outside : str or None
        How a link leads out of the archive, so that what it leads to is not archived; None for all other sources.
    """

    kind: Kind
    source: Path
    target: Path
    link: Path | None = None
    outside: str | None = None


@dataclass(frozen=True)
class Problem:
    """A source that cannot be archived; the others can."""

    source: Path
    error: CryofsError
