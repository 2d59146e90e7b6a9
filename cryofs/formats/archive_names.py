"""Names in an archive: how an archived movie, a gain reference and a draft are called. A listing needs no more."""

import re

SUFFIX = ".tif"
MOVIE_SUFFIXES = (".mrc", ".mrcs")
EER_SUFFIX = ".eer"
TIFF_SUFFIXES = (SUFFIX, ".tiff")
GAIN_REFERENCE = "gain-reference.mrc"
# An ordinary file, shown by mounts: fractions are counts, which a program has to multiply with it.
EER_GAIN_REFERENCE = "gain-reference-eer.mrc"

_GAIN_PATTERN = re.compile(r"gain-reference(-[0-9a-f]{8})?\.mrc")


def archived_name(name: str) -> str:
    """Name of the file that holds a movie: X.mrc -> X.mrc.tif."""
    return name + SUFFIX


def original_name(name: str) -> str | None:
    """Name of the movie that a file of this name would hold, None where it is no archived movie's."""
    stem = name.removesuffix(SUFFIX)
    return stem if stem != name and stem.endswith(MOVIE_SUFFIXES) else None


def fractions_name(eer_name: str) -> str:
    """Name of the movie of fractions that an EER file is shown as: X.eer -> X.mrc, X.mrc.eer -> X.mrc."""
    stem = eer_name.removesuffix(EER_SUFFIX)
    return stem if stem.endswith(MOVIE_SUFFIXES) else stem + MOVIE_SUFFIXES[0]


def eer_names(movie_name: str) -> list[str]:
    """Names that an EER file shown as this movie may have, the likelier first."""
    if not movie_name.endswith(MOVIE_SUFFIXES):
        return []
    names = [movie_name.removesuffix(MOVIE_SUFFIXES[0]) + EER_SUFFIX, movie_name + EER_SUFFIX]
    return [name for name in names if fractions_name(name) == movie_name]


def foreign_name(tiff_name: str) -> str | None:
    """Name of the MRC movie that a TIFF of another program is shown as: X.tif -> X.mrc, X.mrc.tif -> X.mrc."""
    suffix = next((suffix for suffix in TIFF_SUFFIXES if tiff_name.endswith(suffix)), None)
    if suffix is None:
        return None
    stem = tiff_name.removesuffix(suffix)
    return stem if stem.endswith(MOVIE_SUFFIXES) else stem + MOVIE_SUFFIXES[0]


def foreign_names(movie_name: str) -> list[str]:
    """Names that a TIFF of another program shown as this movie may have, the likelier first."""
    if not movie_name.endswith(MOVIE_SUFFIXES):
        return []
    stems = (movie_name.removesuffix(MOVIE_SUFFIXES[0]), movie_name)
    names = [stem + suffix for stem in stems for suffix in TIFF_SUFFIXES]
    return [name for name in names if foreign_name(name) == movie_name]


def is_reference_name(name: str) -> bool:
    """Whether a file of this name in an archive is one of the archive's own gain references."""
    return _GAIN_PATTERN.fullmatch(name) is not None


def later_reference_name(sha256: str) -> str:
    """Name of a further gain reference beside the first."""
    return f"gain-reference-{sha256[:8]}.mrc"


def later_eer_reference_name(sha256: str) -> str:
    """Name of a further gain reference of EER movies."""
    return f"gain-reference-eer-{sha256[:8]}.mrc"
