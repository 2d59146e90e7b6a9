"""A small intact file with its expected content, of which tests damage copies."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryofs.movies.movie import Movie
from tests.support import Reported

Kind = Literal[
    "archived",
    "adopted",
    "gain",
    "eer",
    "footer eer",
    "eer gain",
    "foreign",
    "normalised",
    "normalised gain",
    "packed",
    "source",
    "settings",
    "list",
    "state",
]
ARCHIVED = "movie.mrc.tif"
ADOPTED = "movie.tif"
GAIN = "gain-reference.mrc"
TIME_NS = 1_700_000_000_123_456_789
# access time in the year 2100, which reads do not update
READ_NS = 4_102_444_800_000_000_000


@dataclass(frozen=True)
class Specimen:
    """A folder with a file to damage, and other intact files.

    Attributes
    ----------
    file : str
        Name of the file to damage.
    shown : dict
        Content of a mount of the intact folder, by path in the mount.
    victim : str
        Path in the mount of the movie that is read from the file to damage.
    header_bytes, frame_bytes : int
        Size of the header and of each frame of the victim.
    """

    name: str
    kind: Kind
    folder: Path
    file: str
    shown: dict[str, bytes] = field(repr=False)
    victim: str = ""
    header_bytes: int = 0
    frame_bytes: int = 0

    @property
    def data(self) -> bytes:
        """Bytes of the intact file."""
        return (self.folder / self.file).read_bytes()


def write(path: Path, data: bytes) -> Path:
    """Write a file with fixed times, so that specimens are reproducible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(READ_NS, TIME_NS))
    return path


def whole(movie: Movie) -> bytes:
    """Return all bytes of the MRC file."""
    frames = [movie.mrc_frame(index).tobytes() for index in range(movie.layout.frames)]
    return movie.header + b"".join(frames) + movie.read_trailing(1 << 30, 0)


def all_done(reported: Reported) -> None:
    """Raise an error if a file could not be archived."""
    if reported.errors:
        raise RuntimeError(f"a specimen could not be archived: {reported.errors}")
