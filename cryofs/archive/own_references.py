"""Which files called `gain-reference*.mrc` belong to cryofs: mounts hide them, and extract does not restore them.

The same rule as in a mount (`cryofs.vfs.references`): those that cryofs estimated, those that have the name of their
content, and those on which records depend because there is no such copy.
"""

from collections.abc import Callable
from pathlib import Path

from cryofs.archive.identify import held_movie
from cryofs.errors import CryofsError
from cryofs.formats.archive_names import later_reference_name
from cryofs.movies import registry
from cryofs.movies.gain_library import is_estimated
from cryofs.storage.atomic_file import regular_file
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksums import file_sha256
from cryofs.storage.folders import folders_of


def is_own_reference(reference: Path, is_needed: Callable[[str], bool]) -> bool:
    """Return True if a gain reference of an archive belongs to cryofs; False if it cannot be read, which is reported.

    Parameters
    ----------
    is_needed : callable
        Function that returns True if the record of an archived movie names the reference with this SHA-256.
    """
    try:
        with LocalFile.open(reference) as source:
            if is_estimated(source):
                return True
            sha256 = file_sha256(source)
    except (CryofsError, OSError):
        return False
    name = later_reference_name(sha256)
    has_copy = any(regular_file(folder / name) is not None for folder in reference.parents)
    return reference.name == name or (not has_copy and is_needed(sha256))


def is_needed_below(folder: Path, sha256: str) -> bool:
    """Return True if an archived movie in a folder tree needs the gain reference with this SHA-256."""
    places = (place / name for place, names in folders_of(folder) for name in names if registry.may_have_record(name))
    return any(_gain_of(place) == sha256 for place in places)


def _gain_of(place: Path) -> str | None:
    try:
        record = held_movie(place)
    except (CryofsError, OSError):
        return None
    return record.gain.sha256 if record is not None and record.gain is not None else None
