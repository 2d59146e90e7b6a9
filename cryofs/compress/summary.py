"""The summary of a run of `cryofs compress`, and the interface that receives its progress."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryofs.gain.estimation import FrameRow


@dataclass
class Summary:
    """Counts and sizes of a run.

    Sizes in bytes include only stored movies; the original of fractions is the EER file.

    Attributes
    ----------
    failed : int
        Number of sources that could not be archived.
    skipped : int
        Number of movies that the archive already contained.
    replaced : int
        Number of movies and files that replaced different ones of the same name.
    copied, up_to_date : int
        Number of copied files, and of files that the archive already contained.
    packed : int
        Number of files among these that hold packed movies, which could be unpacked.
    kept_plain : int
        Number of plain copies, made by this run or an earlier one.
    suspect : int
        Number of copied files that look damaged.
    links_outside : int
        Number of links whose targets are not in the archive.
    unfinished : int
        Number of sources that were not done when the disk became full.
    """

    movies: int = 0
    failed: int = 0
    skipped: int = 0
    replaced: int = 0
    copied: int = 0
    up_to_date: int = 0
    packed: int = 0
    kept_plain: int = 0
    suspect: int = 0
    links_outside: int = 0
    unfinished: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0

    @property
    def ratio(self) -> float | None:
        """Ratio of the stored to the original size, or None if no movie was stored."""
        return self.stored_bytes / self.original_bytes if self.original_bytes else None


class Listener(Protocol):
    """Receiver of the progress of a run."""

    def begin(self, movies: int, frames: int) -> None:
        """Start storing movies, with the total numbers of movies and frames."""

    def frame_row(self, row: FrameRow) -> None:
        """Report the statistics of a frame that was added to a gain estimate."""

    def frames(self, count: int) -> None:
        """Add `count` finished frames; a negative number if frames are processed again."""

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        """Report a stored movie, with its sizes in bytes."""

    def note(self, text: str) -> None:
        """Report a message that is not an error."""

    def failed(self, name: Path, error: Exception) -> None:
        """Report a source that could not be archived, or a full disk."""
