"""Find files that look damaged before they are copied: movies in which not all frames can be located."""

from pathlib import Path

from cryofs.error_hints import reason_of
from cryofs.movies.registry import damage


def damage_of(path: Path) -> str | None:
    """Return a description of the damage of a movie, or None if the movie looks intact or the file is not a movie.

    Truncated files and damaged directories are found. Flipped bits in frames are not, because no frame is decoded.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    error = damage(path, every_frame=True)
    return None if error is None else reason_of(error, path)
