"""Read lists of movies: RELION STAR files (column rlnMicrographMovieName) and `.lst` files with one name per line."""

from pathlib import Path

from cryofs.errors import FormatError
from cryofs.formats.star import StarFile

SUFFIXES = (".star", ".lst")
# the longest path that Linux accepts
_LONGEST_NAME = 4096
_COLUMN = "rlnMicrographMovieName"


def read_list(path: Path) -> list[str]:
    """Return the movie names of a list as written in the file.

    Raises
    ------
    FormatError
        The file is not a valid list, or does not contain movie names.
    """
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise FormatError(f"{path}: not a text file; pass a STAR file, or a .lst file with one movie name per line")
    names = _star_names(path, text) if path.suffix == ".star" else [line.strip() for line in text.splitlines()]
    names = [name for name in names if name]
    if (longest := max(map(len, names), default=0)) > _LONGEST_NAME:
        raise FormatError(
            f"{path}: not a list of movies (a name of {longest} characters, longer than any path); "
            "pass a STAR file, or a .lst file with one movie name per line"
        )
    if not names:
        expected = f"a column _{_COLUMN}" if path.suffix == ".star" else "one movie name per line"
        raise FormatError(f"{path}: no movie names found (expected {expected}); pass another list")
    return names


def _star_names(path: Path, text: str) -> list[str]:
    try:
        return StarFile(text, str(path)).every(_COLUMN)
    except FormatError as error:
        raise FormatError(f"{error}, or use a .lst file with one movie name per line") from error
