"""Files that look damaged when they are archived: movies whose frames cannot all be found."""

from pathlib import Path

from cryofs.movies.registry import providers_of


def damage_of(path: Path) -> str | None:
    """Return what is wrong with a movie, or None if it is intact or another file.

    No frame is decoded: a file that is cut short, or whose directories are damaged, is found, a flipped bit is not.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    for provider in providers_of(path.name):
        if provider.option is None and (error := provider.damage(path)) is not None:
            return _without_name(error, path)
    return None


def _without_name(error: Exception, path: Path) -> str:
    """Return the reason alone: without the file name before it and the remedy behind it."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]
