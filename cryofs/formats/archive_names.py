"""Convert and classify the names of movies, archived movies and gain references, without reading files."""

import re

from cryofs.storage.atomic_file import OWN_PREFIX

SUFFIX = ".tif"
MOVIE_SUFFIXES = (".mrc", ".mrcs")
EER_SUFFIX = ".eer"
TIFF_SUFFIXES = (SUFFIX, ".tiff")
GAIN_REFERENCE = "gain-reference.mrc"
# An ordinary file that mounts show: EER fractions are counts, which programs multiply with this reference.
EER_GAIN_REFERENCE = "gain-reference-eer.mrc"

_GAIN_PATTERN = re.compile(r"gain-reference(-[0-9a-f]{8})?\.mrc")


def is_own_name(name: str) -> bool:
    """Return True if a file or folder with this name belongs to cryofs; mounts show such names only in `@archive`."""
    return name.startswith(OWN_PREFIX)


def is_dot_name(name: str) -> bool:
    """Return True if a name begins with a dot, such as `._x.mrc` of macOS; such a file is never treated as a movie."""
    return name.startswith(".")


def is_movie_name(name: str) -> bool:
    """Return True if a file with this name may be an MRC movie."""
    return name.endswith(MOVIE_SUFFIXES) and not is_dot_name(name)


def is_eer_name(name: str) -> bool:
    """Return True if a file with this name may be an EER movie."""
    return name.endswith(EER_SUFFIX) and not is_dot_name(name)


def is_tiff_name(name: str) -> bool:
    """Return True if a file with this name may be a TIFF movie, archived or not."""
    return name.endswith(TIFF_SUFFIXES) and not is_dot_name(name)


def archived_name(name: str) -> str:
    """Return the name of the archived movie: X.mrc -> X.mrc.tif."""
    return name + SUFFIX


def original_name(name: str) -> str | None:
    """Return the original name for the name of an archived movie, or None for any other name."""
    stem = name.removesuffix(SUFFIX)
    return stem if stem != name and is_movie_name(stem) else None


def fractions_name(eer_name: str) -> str:
    """Return the name of the MRC movie that mounts show for an EER file: X.eer -> X.mrc, X.mrc.eer -> X.mrc."""
    stem = eer_name.removesuffix(EER_SUFFIX)
    return stem if stem.endswith(MOVIE_SUFFIXES) else stem + MOVIE_SUFFIXES[0]


def eer_names(movie_name: str) -> list[str]:
    """Return the possible names of the EER file that is shown as `movie_name`, the most likely first."""
    if not is_movie_name(movie_name):
        return []
    names = [movie_name.removesuffix(MOVIE_SUFFIXES[0]) + EER_SUFFIX, movie_name + EER_SUFFIX]
    return [name for name in names if fractions_name(name) == movie_name]


def foreign_name(tiff_name: str) -> str | None:
    """Return the name of the MRC movie that mounts show for a TIFF movie: X.tif -> X.mrc, X.mrc.tif -> X.mrc.

    Return None if the name is not that of a TIFF movie.
    """
    if not is_tiff_name(tiff_name):
        return None
    suffix = next(suffix for suffix in TIFF_SUFFIXES if tiff_name.endswith(suffix))
    stem = tiff_name.removesuffix(suffix)
    return stem if stem.endswith(MOVIE_SUFFIXES) else stem + MOVIE_SUFFIXES[0]


def foreign_names(movie_name: str) -> list[str]:
    """Return the possible names of the TIFF movie that is shown as `movie_name`, the most likely first."""
    if not is_movie_name(movie_name):
        return []
    stems = (movie_name.removesuffix(MOVIE_SUFFIXES[0]), movie_name)
    names = [stem + suffix for stem in stems for suffix in TIFF_SUFFIXES]
    return [name for name in names if foreign_name(name) == movie_name]


def is_reference_name(name: str) -> bool:
    """Return True if a file with this name is a gain reference of the archive."""
    return _GAIN_PATTERN.fullmatch(name) is not None


def later_reference_name(sha256: str) -> str:
    """Return the name of an additional gain reference of the archive."""
    return f"gain-reference-{sha256[:8]}.mrc"


def later_eer_reference_name(sha256: str) -> str:
    """Return the name of an additional gain reference for EER movies."""
    return f"gain-reference-eer-{sha256[:8]}.mrc"
