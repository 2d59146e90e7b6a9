"""Define the figures of a run of `cryofs compress`, and the interface that receives the progress."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryofs.gain.estimation import FrameRow


@dataclass
class Summary:
    """Figures of a run; sizes in bytes include stored movies only, with the EER file as the original of fractions.

    Attributes
    ----------
    failed : int
        Sources that could not be archived.
    skipped : int
        Movies that the archive already contains.
    replaced : int
        Movies and files that replaced different ones with the same name.
    copied, up_to_date : int
        Files that were copied, and files that the archive already contains.
    packed : int
        Files among these that hold packed movies, which could be unpacked.
    kept_plain : int
        Plain copies, made by this run or by an earlier one.
    suspect : int
        Copied files that look damaged.
    links_outside : int
        Links to targets that are not in the archive.
    unfinished : int
        Sources that were not done when the disk became full.
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
        """Ratio of the stored to the original size, or None without stored movies."""
        return self.stored_bytes / self.original_bytes if self.original_bytes else None


class Listener(Protocol):
    """Interface that receives the progress of a run."""

    def begin(self, movies: int, frames: int) -> None:
        """Begin to store movies, with the total numbers of movies and frames."""

    def frame_row(self, row: FrameRow) -> None:
        """Report a frame that was added to a gain estimate."""

    def frames(self, count: int) -> None:
        """Add a number of finished frames; negative if frames are processed again."""

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        """Report a stored movie with its sizes."""

    def note(self, text: str) -> None:
        """Report a message that is not an error."""

    def failed(self, name: Path, error: Exception) -> None:
        """Report a source that could not be archived, or a full disk."""
