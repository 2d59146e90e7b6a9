"""Names of archived movies, gain references and drafts, which directory listings need."""

import re
from collections.abc import Sequence
from pathlib import Path

from cryofs.storage.atomic_file import OWN_PREFIX

SUFFIX = ".tif"
MOVIE_SUFFIXES = (".mrc", ".mrcs")
# some versions of the camera software write .ecc files in counting mode
EER_SUFFIXES = (".eer", ".ecc")
TIFF_SUFFIXES = (SUFFIX, ".tiff")
GAIN_REFERENCE = "gain-reference.mrc"
# An ordinary file, which mounts show: EER fractions are counts, and programs multiply them with this reference.
EER_GAIN_REFERENCE = "gain-reference-eer.mrc"

# Suffixes match in any case, but a movie is shown beside its file only for these: x.tif, x.TIF and x.Tif. A lookup of
# the movie tries each of them.
_CASES = (str.lower, str.upper, str.title)
_GAIN_PATTERN = re.compile(r"gain-reference(-[0-9a-f]{8})?\.mrc")


def is_own_name(name: str) -> bool:
    """Return True if a file or folder of this name belongs to cryofs; mounts show it only in `@archive`."""
    return name.startswith(OWN_PREFIX)


def is_dot_name(name: str) -> bool:
    """Return True if a name begins with a dot. Such a file is never a movie (drafts, `._x.mrc` of macOS)."""
    return name.startswith(".")


def is_movie_name(name: str) -> bool:
    """Return True if the name is that of an MRC movie."""
    return name.lower().endswith(MOVIE_SUFFIXES) and not is_dot_name(name)


def is_eer_name(name: str) -> bool:
    """Return True if the name is that of an EER movie."""
    return name.lower().endswith(EER_SUFFIXES) and not is_dot_name(name)


def archived_name(name: str) -> str:
    """Return the name of the archived movie for an original: X.mrc -> X.mrc.tif, X.MRC -> X.MRC.tif."""
    return name + SUFFIX


def archived_path(original: Path) -> Path:
    """Return the path of the archived movie beside an original."""
    return original.with_name(archived_name(original.name))


def has_archived_form(name: str) -> bool:
    """Return True if a movie of this name can be stored as an archived movie."""
    return is_movie_name(name) and not is_reference_name(name)


def original_name(name: str) -> str | None:
    """Return the original name of an archived movie, or None if `name` is not the name of an archived movie."""
    stem = name.removesuffix(SUFFIX)
    return stem if stem != name and is_movie_name(stem) else None


def fractions_name(eer_name: str) -> str | None:
    """Return the name of the MRC movie that mounts show for an EER file: X.eer -> X.mrc, X.mrc.eer -> X.mrc."""
    return _shown_beside(eer_name, EER_SUFFIXES)


def eer_names(movie_name: str) -> list[str]:
    """Return the possible names of the EER file that mounts show as `movie_name`, the most likely first."""
    return _names_behind(movie_name, EER_SUFFIXES)


def foreign_name(tiff_name: str) -> str | None:
    """Return the name of the MRC movie that mounts show for a TIFF movie: X.tif -> X.mrc, X.mrc.tif -> X.mrc."""
    return _shown_beside(tiff_name, TIFF_SUFFIXES)


def foreign_names(movie_name: str) -> list[str]:
    """Return the possible names of the TIFF movie that mounts show as `movie_name`, the most likely first."""
    return _names_behind(movie_name, TIFF_SUFFIXES)


def spellings(suffixes: Sequence[str]) -> list[str]:
    """Return the spellings of suffixes for which a movie is shown beside its file, the most likely first."""
    return [cased(suffix) for cased in _CASES for suffix in suffixes]


def _shown_beside(name: str, suffixes: tuple[str, ...]) -> str | None:
    if is_dot_name(name):
        return None
    stem = next((name[: -len(suffix)] for suffix in spellings(suffixes) if name.endswith(suffix)), None)
    # the suffix in lower case comes first, because programs request it
    return stem if stem is None or is_movie_name(stem) else stem + MOVIE_SUFFIXES[0]


def _names_behind(movie_name: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the possible names of files with one of these suffixes that mounts show as `movie_name`."""
    if not is_movie_name(movie_name):
        return []
    stems = (movie_name.removesuffix(MOVIE_SUFFIXES[0]), movie_name)
    names = [stem + cased(suffix) for cased in _CASES for stem in stems for suffix in suffixes]
    return [name for name in names if _shown_beside(name, suffixes) == movie_name]


def is_reference_name(name: str) -> bool:
    """Return True if the name is that of a gain reference of the archive."""
    return _GAIN_PATTERN.fullmatch(name) is not None


def later_reference_name(sha256: str) -> str:
    """Return the name of an additional gain reference of the archive."""
    return f"gain-reference-{sha256[:8]}.mrc"


def later_eer_reference_name(sha256: str) -> str:
    """Return the name of an additional gain reference for EER movies."""
    return f"gain-reference-eer-{sha256[:8]}.mrc"
