"""Figures and messages of a run of `cryofs ingest`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass
class Summary:
    """Figures of a run; sizes in bytes include ingested movies only.

    Attributes
    ----------
    ingested : int
        Movies that an archived movie replaced.
    waiting : int
        Movies that are not finished, are in use, or need a gain reference, at the end of the run.
    kept_plain : int
        Files with the name of a movie that stay as they are.
    failed : int
        Files that could not be ingested.
    hidden : int
        Originals that stay hidden for a day, because a program may have them open.
    """

    ingested: int = 0
    waiting: int = 0
    kept_plain: int = 0
    failed: int = 0
    hidden: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0


class Listener(Protocol):
    """Interface that receives the progress of a run."""

    def begin(self, movies: int, frames: int) -> None:
        """Begin to archive movies, with the total numbers of movies and frames of one search."""

    def frames(self, count: int) -> None:
        """Add a number of finished frames; negative if frames are processed again."""

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        """Report an ingested movie with its sizes."""

    def note(self, text: str) -> None:
        """Report a message that is not an error."""

    def failed(self, error: Exception) -> None:
        """Report a file that could not be ingested."""
