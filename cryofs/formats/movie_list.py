"""Lists of movies: RELION's STAR files (column rlnMicrographMovieName) and plain `.lst` files, a name a line."""

from pathlib import Path

import gemmi

from cryofs.errors import FormatError

SUFFIXES = (".star", ".lst")
# as long as Linux takes a path
_LONGEST_NAME = 4096
_COLUMN = "_rlnMicrographMovieName"


def read_list(path: Path) -> list[str]:
    """Movie names in a list, as they are written there.

    Raises
    ------
    FormatError
        The file is not readable as a list, or names no movie.
    """
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise FormatError(f"{path}: no text file, so no list of movies")
    names = _star_names(path, text) if path.suffix == ".star" else [line.strip() for line in text.splitlines()]
    names = [name for name in names if name]
    if (longest := max(map(len, names), default=0)) > _LONGEST_NAME:
        raise FormatError(f"{path}: a name of {longest} characters is none of a file, so it is no list of movies")
    if not names:
        wanted = f"a column {_COLUMN}" if path.suffix == ".star" else "a movie name on each line"
        raise FormatError(f"{path}: names no movie; it needs {wanted}")
    return names


def _star_names(path: Path, text: str) -> list[str]:
    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise FormatError(
            f"{path}: no valid STAR file ({error}); export it again, or write a name a line into a .lst file"
        ) from error
    return [gemmi.cif.as_string(value) for block in document for value in block.find_values(_COLUMN)]
