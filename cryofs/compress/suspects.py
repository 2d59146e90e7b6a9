"""Find files that look damaged before they are copied: movies in which some frames cannot be located."""

from pathlib import Path

from cryofs.error_hints import reason_of
from cryofs.movies.registry import damage


def damage_of(path: Path) -> str | None:
    """Return a description of the damage of a movie, or None if the file looks intact or is not a movie.

    The check finds truncated files and damaged directories. It does not find flipped bits in frames, because it decodes
    no frame.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    error = damage(path, every_frame=True)
    return None if error is None else reason_of(error, path)
