"""What files of the archive hold, as far as names and attributes depend on it: read once, then known.

Threads: any thread may call anything; the tables have locks.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cryofs.errors import FormatError
from cryofs.formats import eer, tiff_movie
from cryofs.formats.archive_names import EER_SUFFIX, MOVIE_SUFFIXES, TIFF_SUFFIXES, archived_name, original_name
from cryofs.formats.eer import EerIndex
from cryofs.formats.record import is_archived, read_record
from cryofs.formats.record_check import layout_of
from cryofs.formats.tiff_movie import NoFramesError, NoMovieError, TiffFacts, TiffIndex
from cryofs.movies.archived_counts import counts_bytes
from cryofs.movies.eer_rendering import EerFacts, facts_of
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.archive_root import Root
from cryofs.vfs.damage import Damage, damage_of, or_damage
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.metadata_cache import Known

T = TypeVar("T")

_KNOWN_FILES = 1 << 18
# an index holds the offsets of all frames
_KNOWN_INDEXES = 64


@dataclass(frozen=True)
class Original:
    """What a record says: of the original, the size of the movie as counts, the SHA-256 of its gain reference.

    None: the movie holds no counts, or needs no reference.
    """

    size: int
    mtime_ns: int
    atime_ns: int
    mode: int
    counts_bytes: int | None
    gain: str | None


class Facts:
    """What is known of the files of an archive.

    What is damaged is a value too, so that listings remember it. Only storage that does not respond, and errors of the
    moment, are raised.
    """

    def __init__(self, root: Root, io: IoExecutor):
        self._root = root
        self._originals = Known(root, io, or_damage(_read_original), _KNOWN_FILES)
        self._eer_indexes = Known(root, io, eer.read_index, _KNOWN_INDEXES)
        self._eers = Known(root, io, or_damage(self._read_eer, listed=False), _KNOWN_FILES)
        self._tiff_indexes = Known(root, io, tiff_movie.read_index, _KNOWN_INDEXES)
        self._tiffs = Known(root, io, or_damage(self._read_tiff), _KNOWN_FILES)

    def original(self, path: Path, found: os.stat_result) -> Original | Damage | None:
        """What the record of a file says of the original; None if the file is not an archived movie."""
        return self._of(self._originals, path, found)

    def eer(self, path: Path, found: os.stat_result) -> EerFacts | Damage | None:
        """What an EER file says of itself."""
        return self._of(self._eers, path, found)

    def tiff(self, path: Path, found: os.stat_result) -> TiffFacts | Damage | None:
        """What a file says of itself as a TIFF movie of another program, None if it is not one."""
        if original_name(path.name) is not None and self.original(path, found) is not None:
            return None
        return self._of(self._tiffs, path, found)

    def gain(self, path: Path, found: os.stat_result) -> str | None:
        """SHA-256 of the gain reference that a file called like an archived movie needs, None if it needs none."""
        original = self.original(path, found) if original_name(path.name) else None
        return original.gain if isinstance(original, Original) else None

    def readable_eer(self, path: Path) -> EerFacts:
        """What an EER file says of itself; FormatError if it is damaged."""
        facts = self._eers.get(path, self._root.lstat(path))
        if isinstance(facts, Damage):
            raise FormatError(f"{self._root.name_of(path)}: {facts.reason}")
        return facts

    def eer_index(self, source: LocalFile) -> EerIndex:
        """Index of an open EER file."""
        return self._eer_indexes.get_open(source)

    def tiff_index(self, source: LocalFile) -> TiffIndex:
        """Index of an open TIFF movie of another program."""
        return self._tiff_indexes.get_open(source)

    def damaged(self) -> list[str]:
        """Damaged files that were met so far, each as a line with name, problem and remedy."""
        return [line for known in (self._originals, self._eers, self._tiffs) for line in known.damaged()]

    def surveyed(self) -> dict[str, tuple[Known[Any], Any]]:
        """By the end of a file's name: what listings have to know of such files, and the type of it."""
        originals = {archived_name(suffix): (self._originals, Original | Damage | None) for suffix in MOVIE_SUFFIXES}
        foreign = dict.fromkeys(TIFF_SUFFIXES, (self._tiffs, TiffFacts | Damage | None))
        # the first that fits counts, and every name of an original ends in a TIFF suffix
        return {**originals, EER_SUFFIX: (self._eers, EerFacts | Damage), **foreign}

    def _of(self, known: Known[T | Damage], path: Path, found: os.stat_result) -> T | Damage | None:
        """What is known of a file, or why it cannot be read; None of what is not a regular file."""
        if not stat.S_ISREG(found.st_mode):
            return None
        try:
            return known.get(path, found)
        except OSError as error:
            if (damage := damage_of(error)) is None:
                raise
            known.note(damage, found, self._root.name_of(path))
            return damage

    def _read_eer(self, source: LocalFile) -> EerFacts:
        return facts_of(self.eer_index(source))

    def _read_tiff(self, source: LocalFile) -> TiffFacts | Damage | None:
        if is_archived(source):
            record = read_record(source)
            if record.adopted is not None:
                # its frames are those of the record, however damaged the pages are
                layout_of(record, source.name)
                return TiffFacts(record.shape, np.dtype(record.stored_dtype).str, False, record.pixel_size)
            # an archived movie that was renamed: its pixels are only a part of the original
            return None
        try:
            return self.tiff_index(source).facts
        except NoMovieError:
            return None
        except NoFramesError as error:
            return Damage(str(error).removeprefix(f"{source.name}: "), listed=False)


def _read_original(source: LocalFile) -> Original | None:
    if not is_archived(source):
        return None
    record = read_record(source)
    original = record.original
    layout = layout_of(record, source.name)
    gain = record.gain.sha256 if record.gain else None
    return Original(layout.total_bytes, original.mtime_ns, original.atime_ns, original.mode, counts_bytes(record), gain)
