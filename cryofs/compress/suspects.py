"""Files that look damaged when they are archived: EER files and TIFF movies whose frames cannot all be found."""

from pathlib import Path

from cryofs.archive.identify import Damaged, classify
from cryofs.errors import FormatError
from cryofs.formats.archive_names import is_eer_name
from cryofs.formats.eer import read_index
from cryofs.storage.byte_source import LocalFile


def damage_of(path: Path) -> str | None:
    """Return what is wrong with an EER file or a TIFF movie, None if nothing is or if it is another file.

    No frame is decoded: a file that is cut short, or whose directories are damaged, is found, a flipped bit is not.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if is_eer_name(path.name):
        return _damage_of_eer(path)
    what = classify(path)
    return _without_name(what.error, path) if isinstance(what, Damaged) else None


def _damage_of_eer(path: Path) -> str | None:
    with LocalFile.open(path) as source:
        try:
            index = read_index(source)
        except FormatError as error:
            return _without_name(error, path)
    bad = index.frames - int(index.intact.sum())
    return f"{bad} of {index.frames} frames are damaged or missing" if bad else None


def _without_name(error: Exception, path: Path) -> str:
    """Return the reason alone: without the file name before it and the remedy behind it."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]
