"""Jobs: sources, each with its place in the archive."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryofs.errors import CryofsError


class Kind(Enum):
    """Storage form of a source."""

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
        Text of a link; None for the text of the source.
    outside : str or None
        Description of a link that leads out of the archive, whose target is not archived; otherwise None.
    """

    kind: Kind
    source: Path
    target: Path
    link: Path | None = None
    outside: str | None = None


@dataclass(frozen=True)
class Problem:
    """A source that cannot be archived, with the error."""

    source: Path
    error: CryofsError
