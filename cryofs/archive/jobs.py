"""Jobs, which pair a source with its target in the archive."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryofs.errors import CryofsError


class Kind(Enum):
    """How the archive stores a source; the value is the phrase for messages."""

    MOVIE = "movie"
    EER = "EER movie to be rendered"
    PACKED = "packed movie to be unpacked"
    FILE = "file"
    LINK = "link"
    FOLDER = "folder"

    @property
    def is_movie(self) -> bool:
        """True if it is stored as an archived movie."""
        return self in (Kind.MOVIE, Kind.EER, Kind.PACKED)

    @property
    def is_original(self) -> bool:
        """True if it is stored as an archived movie from which the original can be restored."""
        return self in (Kind.MOVIE, Kind.PACKED)


@dataclass(frozen=True)
class Job:
    """A source, and its target as a path relative to the root of the archive.

    Attributes
    ----------
    link : Path or None
        Target to write into a symbolic link; None to copy the target of the source.
    outside : str or None
        Description of the target of a link if the target is not archived; otherwise None.
    plain : str or None
        Name of the copy if a packed movie is not unpacked.
    """

    kind: Kind
    source: Path
    target: Path
    link: Path | None = None
    outside: str | None = None
    plain: str | None = None


@dataclass(frozen=True)
class Problem:
    """A source that cannot be archived, with the error."""

    source: Path
    error: CryofsError
