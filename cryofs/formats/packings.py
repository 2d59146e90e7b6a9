"""The formats of packed files, and the names of packed movies. A format is added by its row in `PACKINGS`."""

from cryofs.formats.archive_names import MOVIE_SUFFIXES, is_movie_name, spellings
from cryofs.formats.bzip2_file import Bzip2
from cryofs.formats.gzip_file import Gzip
from cryofs.formats.packing import Packing
from cryofs.formats.xz_file import Xz
from cryofs.formats.zstd_file import Zstd

PACKINGS: tuple[Packing, ...] = (Bzip2(), Gzip(), Xz(), Zstd())
# Ends of the names of packed movies.
PACKED_SUFFIXES = tuple(movie + packing.suffix for movie in MOVIE_SUFFIXES for packing in PACKINGS)


def packing_of(name: str) -> Packing | None:
    """Return the format of a packed movie by its name, in any case; None for other names."""
    found = next((one for one in PACKINGS if name.lower().endswith(one.suffix)), None)
    return found if found and is_movie_name(name[: -len(found.suffix)]) else None


def unpacked_name(name: str) -> str | None:
    """Return the name of the movie in a packed file: X.mrc.bz2 -> X.mrc; None for other names."""
    packing = packing_of(name)
    if packing is None or not name.endswith(tuple(spellings([packing.suffix]))):
        return None
    return name[: -len(packing.suffix)]


def packed_names(movie_name: str) -> list[str]:
    """Return the possible names of the packed file that is shown as `movie_name`, the most likely first."""
    if not is_movie_name(movie_name):
        return []
    return [movie_name + suffix for suffix in spellings([packing.suffix for packing in PACKINGS])]
