"""What a file of an archive is, for all who ask: verify, extract, adopt, figures, doctor and reports."""

from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import DamagedError, FormatError
from cryofs.formats.archive_names import is_movie_name, is_reference_name, is_tiff_name, original_name
from cryofs.formats.record import HEAD_BYTES, MARK, Record, is_archived, read_record
from cryofs.formats.tiff_directories import MAGICS
from cryofs.formats.tiff_movie import NoMovieError, TiffFacts, read_index
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.atomic_file import regular_file
from cryofs.storage.byte_source import LocalFile


@dataclass(frozen=True)
class Archived:
    """A movie with a record: one that cryofs wrote, or a TIFF movie that it adopted."""

    record: Record
    size: int


@dataclass(frozen=True)
class Foreign:
    """A TIFF movie of another program, without a record."""

    facts: TiffFacts
    size: int


@dataclass(frozen=True)
class Damaged:
    """What was a movie once.

    Attributes
    ----------
    foreign : bool
        Whether nothing about it tells of cryofs: a TIFF of another program, or an adopted one without its end.
    """

    error: DamagedError
    foreign: bool


@dataclass(frozen=True)
class Other:
    """Any other file."""


def classify(path: Path) -> Archived | Foreign | Damaged | Other:
    """Tell what a file is, from its name and what it says of itself; no frame is decoded.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if not is_tiff_name(path.name):
        return Other()
    named_as_ours = original_name(path.name) is not None
    with LocalFile.open(path) as source:
        size = source.size
        try:
            if is_archived(source):
                return Archived(read_record(source), size)
        except DamagedError as error:
            return Damaged(error, foreign=False)
        try:
            return Foreign(read_index(source).facts, size)
        except DamagedError as error:
            # a file of ours would have its mark there
            return Damaged(error, foreign=not named_as_ours or size >= HEAD_BYTES)
        except NoMovieError:
            if not named_as_ours or source.read(len(MAGICS[0]), 0) in MAGICS:
                return Other()
    text = f"{path}: neither an archived movie nor a TIFF, it was emptied or overwritten; restore it from a backup"
    return Damaged(DamagedError(text), foreign=False)


def held_movie(target: Path) -> Record | None:
    """The record of the archived movie that has a name in the archive; None where nothing has it, or something else.

    Raises
    ------
    DamagedError
        It is damaged.
    """
    if regular_file(target) is None:
        return None
    with LocalFile.open(target) as source:
        return read_record(source) if is_archived(source) else None


def is_marked(target: Path) -> bool:
    """Whether compress wrote an archived movie, however damaged it is; one that was adopted has no mark."""
    with target.open("rb") as file:
        return MARK.encode() in file.read(HEAD_BYTES)


def holds_movie(target: Path) -> bool:
    """Return True if compress wrote the archived movie that has this name, even if it is damaged."""
    try:
        held = held_movie(target)
    except DamagedError:
        return is_marked(target)
    return held is not None and held.adopted is None


def why_plain(path: Path) -> str | None:
    """Return why an archive holds a plain file called like a movie; None if the file is not called so.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if not is_movie_name(path.name) or is_reference_name(path.name):
        return None
    try:
        MrcMovie(path).close()
    except FormatError as error:
        return reason_of(error, path)
    return "a movie that does not become smaller, or that no run has archived yet"


def reason_of(error: Exception, path: Path) -> str:
    """Return the reason alone: without the file name before it and the remedy behind it."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]
