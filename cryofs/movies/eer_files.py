"""Find the EER files of a folder, and the first readable one, with which a mount checks its options."""

import os
from collections.abc import Iterator
from pathlib import Path

from cryofs.errors import CryofsError
from cryofs.formats import eer
from cryofs.formats.eer import EerIndex
from cryofs.movies import registry
from cryofs.storage.byte_source import LocalFile

# Number of names to search for a first EER file.
_MOST_NAMES = 20_000


def eer_files(folder: Path, most_names: int | None = None) -> Iterator[Path]:
    """Yield the EER files in a folder and below, those of each folder sorted by name.

    Parameters
    ----------
    most_names : int or None
        Number of file names after which the search ends; None for no limit.
    """
    seen = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        seen += len(names)
        if most_names is not None and seen > most_names:
            return
        for name in sorted(names):
            if registry.rendered_name(name) is not None and (path := Path(place, name)).is_file():
                yield path


def first_eer(folder: Path) -> tuple[Path, EerIndex] | None:
    """Return the first readable EER file in a folder or below, and its index, or None.

    Large folders are not searched to the end.
    """
    for path in eer_files(folder, _MOST_NAMES):
        try:
            with LocalFile.open(path) as source:
                return path, eer.read_index(source)
        except (CryofsError, OSError):
            continue
    return None
