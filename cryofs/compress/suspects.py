"""Files that look damaged when they are archived: movies whose frames cannot all be found."""

from pathlib import Path

from cryofs.error_hints import reason_of
from cryofs.movies.registry import damage


def damage_of(path: Path) -> str | None:
    """Return the damage of a movie; None if it is intact or another kind of file.

    No frame is decoded: a file that is truncated or has damaged directories is found; a flipped bit is not.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    error = damage(path, every_frame=True)
    return None if error is None else reason_of(error, path)
