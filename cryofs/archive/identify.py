"""What a file of an archive is, for all who ask: verify, extract, adopt, figures, doctor and reports."""

from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import DamagedError
from cryofs.formats.archive_names import TIFF_SUFFIXES, original_name
from cryofs.formats.record import HEAD_BYTES, Record, is_archived, read_record
from cryofs.formats.tiff_directories import MAGICS
from cryofs.formats.tiff_movie import NoMovieError, TiffFacts, read_index
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
    if not path.name.endswith(TIFF_SUFFIXES):
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
