"""The registry of kinds of movies in their order of precedence, and queries about files of any kind.

A kind is registered by adding its provider to `PROVIDERS`. Providers are found by the suffix of a file's name, so the
cost of a listing does not depend on their number.
"""

from concurrent.futures import Executor
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from cryofs.errors import CryofsError, FormatError
from cryofs.formats.archive_names import is_dot_name
from cryofs.movies.archived import ARCHIVED
from cryofs.movies.archived_counts import COUNTS
from cryofs.movies.eer_gain import EerGains
from cryofs.movies.eer_gain_reference import EER_GAIN
from cryofs.movies.eer_provider import EER
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.folder_provider import FolderProvider
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.movie import Movie
from cryofs.movies.mrc import MRC
from cryofs.movies.normalised import NORMALISED
from cryofs.movies.packed import PACKED
from cryofs.movies.provider import InfoOptions, OpenContext, Provider, ShowOptions, Stored, Summary
from cryofs.movies.source import SourceMovie
from cryofs.movies.tiff import TIFF
from cryofs.storage.byte_source import LocalFile

AnyProvider = Provider[Any, Any]

PROVIDERS: tuple[AnyProvider, ...] = (COUNTS, ARCHIVED, PACKED, EER, NORMALISED, TIFF, MRC)
FOLDER_PROVIDERS: tuple[FolderProvider, ...] = (EER_GAIN,)


def providers_of(name: str) -> tuple[AnyProvider, ...]:
    """Return the possible kinds of a stored file with this name, in their order of precedence."""
    last = name.rfind(".")
    if last <= 0 or name[0] == ".":
        return ()
    # suffixes have at most two dots; without a second dot this slice is the last character, which is not a suffix
    return _of_suffix(PROVIDERS, name[name.rfind(".", 0, last) :], name[last:])


@lru_cache(maxsize=1024)
def _of_suffix(providers: tuple[AnyProvider, ...], longest: str, last: str) -> tuple[AnyProvider, ...]:
    table = _by_suffix(providers)
    return table.get(longest.lower()) or table.get(last.lower(), ())


def shown_name(stored: str) -> str | None:
    """Return the name of the movie that a mount derives from a stored file of this name, or None."""
    return next((shown for provider in providers_of(stored) if (shown := provider.shown_name(stored))), None)


def replaced_name(stored: str) -> str | None:
    """Return the name of the movie that replaces a stored file in a mount, or None if the file is shown."""
    for provider in providers_of(stored):
        if provider.replaces_stored:
            return provider.shown_name(stored)
    return None


def names_of_renamed(shown: str) -> list[str]:
    """Return the possible names of a renamed archived movie that a mount shows as `shown` beside its file."""
    kinds = (provider for provider in PROVIDERS if provider.has_records and not provider.replaces_stored)
    return [name for provider in kinds for name in provider.stored_names(shown)]


def names_behind(shown: str) -> list[str]:
    """Return the names of all stored files that a mount may show as `shown`; the first is `shown` itself."""
    return list(dict.fromkeys((shown, *(name for provider in PROVIDERS for name in provider.stored_names(shown)))))


def may_have_record(stored: str) -> bool:
    """Return True if a file of this name may be an archived movie, under its own name or after a rename."""
    return any(provider.has_records for provider in providers_of(stored))


def comes_with_references(stored: str) -> bool:
    """Return True if gain references of the archive may appear beside a file of this name.

    Archived movies are excluded, to avoid reading every record.
    """
    found = providers_of(stored)
    return _has_reference_kind(found) and replaced_name(stored) is None


def rendered_name(stored: str) -> str | None:
    """Return the name of the movie that compress can render from a file of this name, or None."""
    return next((provider.shown_name(stored) for provider in providers_of(stored) if provider.is_rendered), None)


def unpackable_name(stored: str) -> str | None:
    """Return the name of the movie that compress can unpack from a file of this name, or None."""
    return next((provider.shown_name(stored) for provider in providers_of(stored) if provider.is_unpackable), None)


def open_rendered(path: Path, rendering: Rendering, eer_gains: EerGains) -> SourceMovie:
    """Open the movie that compress renders from a file; `rendered_name` must return a name for it."""
    provider = next(provider for provider in providers_of(path.name) if provider.is_rendered)
    source = LocalFile.open(path)
    try:
        movie = provider.open(path, source, OpenContext(GainLibrary(), eer_gains, None, ShowOptions(rendering)))
    except BaseException:
        source.close()
        raise
    return cast(SourceMovie, movie)


def open_movie(
    path: Path,
    gains: GainLibrary | None = None,
    pool: Executor | None = None,
    rendering: Rendering | None = None,
    *,
    normalised: bool = False,
) -> Movie:
    """Open a movie of any kind; EER movies are rendered as fractions.

    Parameters
    ----------
    normalised : bool
        Whether to multiply TIFF movies of other programs with their gain reference.

    Raises
    ------
    GainError
        With `normalised`: the movie has no gain reference that fits.
    FormatError
        The file is not a movie, or its name begins with a dot.
    DamagedError
        The record of an archived movie is damaged.
    """
    enabled = frozenset({NORMALISED.option}) if normalised else frozenset()
    return _open(path, gains, pool, ShowOptions(rendering or Rendering(), enabled))[1]


def describe(path: Path, options: InfoOptions) -> dict[str, Any]:
    """Return the facts that `cryofs info` prints about a movie, by name; raise the errors of `open_movie`."""
    provider, movie = _open(path)
    with movie:
        return provider.describe(movie, path, options)


def identify(path: Path) -> Stored:
    """Identify a file of an archive by its name and contents; decode no frame.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    possible = (provider for provider in providers_of(path.name) if provider.option is None)
    return next((found for provider in possible if (found := provider.identify(path))), Stored())


def damage(path: Path, *, every_frame: bool = False) -> CryofsError | None:
    """Return the reason why the frames of a movie cannot be read; None if it is intact or the file is not a movie.

    Parameters
    ----------
    every_frame : bool
        See `Provider.damage`.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    possible = (provider for provider in providers_of(path.name) if provider.option is None)
    found = (provider.damage(path, every_frame=every_frame) for provider in possible)
    return next(filter(None, found), None)


def summarize(path: Path) -> Summary | None:
    """Return the facts of a file for the report of an archive, or None if reports omit it.

    Raises
    ------
    DamagedError, FormatError
        The file is a damaged movie.
    """
    possible = (provider for provider in providers_of(path.name) if provider.option is None)
    return next((found for provider in possible if (found := provider.summarize(path))), None)


def _open(
    path: Path,
    gains: GainLibrary | None = None,
    pool: Executor | None = None,
    options: ShowOptions | None = None,
) -> tuple[AnyProvider, Movie]:
    path = path.absolute()
    if path.is_dir():
        raise FormatError(f"{path}: not a movie (expected a file, got a folder); pass a movie in this folder")
    if not path.is_file():
        raise FormatError(f"{path}: no such file; check the path")
    if is_dot_name(path.name):
        raise FormatError(f"{path}: not a movie (its name begins with a dot); rename the file to open it")
    options, gains = options or ShowOptions(), gains or GainLibrary()
    # the kind that the caller asked for comes first
    enabled = [provider for provider in providers_of(path.name) if provider.option in options.enabled]
    possible = enabled + [provider for provider in providers_of(path.name) if provider.option is None]
    source = LocalFile.open(path)
    try:
        # last, because an MRC file may have any name
        provider = next((one for one in possible if one.claims(source)), MRC)
        context = OpenContext(gains, EerGains(), pool, options, reference=gains.beside)
        return provider, provider.open(path, source, context)
    except FormatError as error:
        source.close()
        if possible:
            raise
        raise FormatError(
            f"{path}: not an MRC file, and its suffix is not a supported movie type ({_suffixes()})"
        ) from error
    except BaseException:
        source.close()
        raise


def _suffixes() -> str:
    """Return the suffixes of movies as text, without those that end in another one."""
    every = [suffix for provider in reversed(PROVIDERS) for suffix in provider.suffixes]
    return ", ".join(dict.fromkeys(one for one in every if one.rfind(".") == 0))


@lru_cache(maxsize=64)
def _has_reference_kind(providers: tuple[AnyProvider, ...]) -> bool:
    return any(provider.comes_with_references for provider in providers)


@lru_cache(maxsize=4)
def _by_suffix(providers: tuple[AnyProvider, ...]) -> dict[str, tuple[AnyProvider, ...]]:
    suffixes = {suffix for provider in providers for suffix in provider.suffixes}
    return {suffix: tuple(one for one in providers if suffix.endswith(one.suffixes)) for suffix in suffixes}
