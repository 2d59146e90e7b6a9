"""Names and attributes: which file of the archive stands behind which name of the mount.

`X.mrc.tif` appears as `X.mrc`, beside `X.eer` its fractions as `X.mrc`, and beside a TIFF movie `X.tif` of another
program its frames as `X.mrc`, or the original if it is an archived movie that was renamed; the archive's own gain
references and drafts do not appear; everything else appears as it is. Views change some of this. Symbolic links are
shown as links, never followed.

Threads: any thread may call anything; what is known of files has locks of its own.
"""

import errno
import os
import stat
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from cryofs.errors import CryofsError, DamagedError
from cryofs.formats import eer, tiff_movie
from cryofs.formats.archive_names import (
    EER_SUFFIX,
    GAIN_REFERENCE,
    MOVIE_SUFFIXES,
    TIFF_SUFFIXES,
    archived_name,
    eer_names,
    foreign_name,
    foreign_names,
    fractions_name,
    is_reference_name,
    original_name,
)
from cryofs.formats.eer import EerIndex
from cryofs.formats.record import is_archived, read_record
from cryofs.formats.record_check import layout_of
from cryofs.formats.tiff_movie import NoMovieError, TiffFacts, TiffIndex
from cryofs.movies.archived_counts import counts_bytes
from cryofs.movies.eer_rendering import EerFacts, Rendering, facts_of, fraction_header, gain_header
from cryofs.movies.tiff import foreign_header
from cryofs.storage.atomic_file import DRAFT_PREFIX
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes, attributes_of
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.metadata_cache import Known
from cryofs.vfs.views import View, view_called

_KNOWN_FILES = 1 << 18
# an index holds the offsets of all frames
_KNOWN_INDEXES = 64
_LONGEST_NAME = 255


class Kind(Enum):
    """What is shown under a name."""

    PLAIN = "a file, folder or link as it is"
    MOVIE = "an archived movie as its original"
    COUNTS = "an archived movie as counts"
    FRACTIONS = "an EER movie as fractions"
    FOREIGN = "a TIFF movie of another program as MRC"
    EER_GAIN = "the gain reference of EER movies"


@dataclass(frozen=True)
class Node:
    """A name of the mount.

    Attributes
    ----------
    path : Path
        The archive's file behind it.
    kind : Kind
        What is made of that file.
    view : View
        Where the name was found.
    """

    path: Path
    kind: Kind
    attributes: Attributes
    view: View


@dataclass(frozen=True)
class _Original:
    """What a record says: of the original, and how large the movie is as counts (None where it holds no counts)."""

    size: int
    mtime_ns: int
    atime_ns: int
    mode: int
    counts_bytes: int | None


class Tree:
    """The names of an archive.

    Parameters
    ----------
    root : Root
        The archive.
    rendering : Rendering
        How EER movies appear in the main view.
    """

    def __init__(self, root: Root, io: IoExecutor, rendering: Rendering):
        self.root = root
        self._rendering = rendering
        self._originals = Known(root, io, _read_original, _KNOWN_FILES)
        self._eer_indexes = Known(root, io, eer.read_index, _KNOWN_INDEXES)
        self._eer_facts = Known(root, io, self._read_eer_facts, _KNOWN_FILES)
        self._tiff_indexes = Known(root, io, tiff_movie.read_index, _KNOWN_INDEXES)
        self._tiff_facts = Known(root, io, self._read_tiff_facts, _KNOWN_FILES)

    def lookup(self, path: str) -> Node:
        """Node behind an absolute path of the mount.

        Raises
        ------
        FileNotFoundError
            There is none.
        OSError
            The name is too long for any file.
        DamagedError, FormatError
            It is a movie whose record or index is damaged, or which cannot be rendered as wanted.
        """
        view, place = self._view_of(path)
        if place == self.root.path:
            attributes = attributes_of(self.root.lstat(place))
            return Node(place, Kind.PLAIN, attributes.made_into(view.name) if view.name else attributes, view)
        node = self._node(place, view)
        if node is None:
            code = errno.ENAMETOOLONG if len(os.fsencode(place.name)) > _LONGEST_NAME else errno.ENOENT
            raise OSError(code, os.strerror(code), path)
        return node

    def place(self, path: str) -> Path:
        """Place in the archive that a path of the mount means, by the path alone.

        It is another one where the archive has an entry called like a view: `lookup` looks, and may wait for that.
        """
        first, _, rest = path.lstrip("/").partition("/")
        return self.root.path / (rest if view_called(first, self._rendering) else path.lstrip("/"))

    def names(self, path: str) -> list[tuple[str, Attributes]]:
        """Names in a folder, with attributes of which type and inode are right.

        Files that cannot be asked what they are, as their storage gives no answer, are taken for what they are called.
        """
        folder = self.lookup(path)
        shown: dict[str, Attributes] = {}
        for name, found in self.root.entries(folder.path):
            appears_as = self._shown_name(folder.path / name, found, folder.view)
            if appears_as is not None:
                shown[appears_as] = attributes_of(found)
        if not folder.view.archive:
            self._add_made_up(folder, shown)
        return list(shown.items())

    def eer_index(self, source: LocalFile) -> EerIndex:
        """Index of an open EER file."""
        return self._eer_indexes.get_open(source)

    def tiff_index(self, source: LocalFile) -> TiffIndex:
        """Index of an open TIFF movie of another program."""
        return self._tiff_indexes.get_open(source)

    def eer_facts(self, path: Path) -> EerFacts:
        """What an EER file of the archive says of itself."""
        return self._eer_facts.get(path, self.root.lstat(path))

    def first_eer(self, folder: Path) -> EerFacts | None:
        """What the first readable EER file of a folder says of itself."""
        for name, found in self.root.entries(folder):
            if name.endswith(EER_SUFFIX) and stat.S_ISREG(found.st_mode):
                try:
                    return self._eer_facts.get(folder / name, found)
                except (CryofsError, OSError):
                    continue
        return None

    def surveyed(self) -> dict[str, tuple[Known[Any], Any]]:
        """By the end of a file's name: what listings have to know of such files, and the type of it."""
        originals = {archived_name(suffix): (self._originals, _Original | None) for suffix in MOVIE_SUFFIXES}
        foreign = dict.fromkeys(TIFF_SUFFIXES, (self._tiff_facts, TiffFacts | None))
        # the first that fits counts, and every name of an original ends in a TIFF suffix
        return {**originals, EER_SUFFIX: (self._eer_facts, EerFacts), **foreign}

    def _read_eer_facts(self, source: LocalFile) -> EerFacts:
        return facts_of(self.eer_index(source))

    def _read_tiff_facts(self, source: LocalFile) -> TiffFacts | None:
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

    def _view_of(self, path: str) -> tuple[View, Path]:
        """View that a path of the mount leads into, and the place in the archive that it stands for."""
        first, _, rest = path.lstrip("/").partition("/")
        view = view_called(first, self._rendering)
        if view is None or self._lstat(self.root.path / first) is not None:
            return View("", self._rendering), self.root.path / path.lstrip("/")
        return view, self.root.path / rest

    def _node(self, place: Path, view: View) -> Node | None:
        """What a name stands for, the first of these that is there: so real files win over what is made of others."""
        if view.archive:
            return self._plain(place, view)
        return (
            self._movie(place, view)
            or self._plain(place, view)
            or self._reference_above(place, view)
            or self._fractions(place, view)
            or self._foreign(place, view)
            or self._eer_gain(place, view)
        )

    def _movie(self, place: Path, view: View) -> Node | None:
        if not place.name.endswith(MOVIE_SUFFIXES):
            return None
        return self._archived(place.with_name(archived_name(place.name)), view)

    def _archived(self, path: Path, view: View) -> Node | None:
        """An archived movie, whatever its file is called."""
        found = self._lstat(path)
        original = self._original(path, found) if found else None
        if found is None or original is None:
            return None
        if view.counts and original.counts_bytes is not None:
            attributes = _of_original(found, original).made_into(Kind.COUNTS.name, original.counts_bytes)
            return Node(path, Kind.COUNTS, attributes, view)
        return Node(path, Kind.MOVIE, _of_original(found, original), view)

    def _plain(self, place: Path, view: View) -> Node | None:
        found = self._lstat(place)
        if found is None or self._shown_name(place, found, view) != place.name:
            return None
        return Node(place, Kind.PLAIN, attributes_of(found), view)

    def _reference_above(self, place: Path, view: View) -> Node | None:
        """A gain reference of the archive, where it appears."""
        if is_reference_name(place.name) and self.root.is_folder(place.parent):
            for folder in self._reference_folders(place.parent, view):
                if found := self._lstat(folder / place.name):
                    return Node(folder / place.name, Kind.PLAIN, attributes_of(found), view)
        return None

    def _reference_folders(self, folder: Path, view: View) -> list[Path]:
        """Folders whose gain references appear in a folder.

        Beside counts and TIFF movies of other programs, which need them, those of all folders above. Above a folder of
        such TIFF movies those of the folder itself, which is where RELION puts them.
        """
        if view.counts or self._holds_foreign(folder):
            return _upwards(folder, self.root.path)
        if self._references(folder):
            below = (folder / name for name, found in self.root.entries(folder) if stat.S_ISDIR(found.st_mode))
            if any(map(self._holds_foreign, below)):
                return [folder]
        return []

    def _references(self, folder: Path) -> set[str]:
        """Names of the gain references in a folder."""
        return {name for name in self.root.names(folder) if is_reference_name(name)}

    def _fractions(self, place: Path, view: View) -> Node | None:
        for name in eer_names(place.name):
            path = place.with_name(name)
            found = self._lstat(path)
            if found and stat.S_ISREG(found.st_mode) and not name.startswith(DRAFT_PREFIX):
                facts = self._eer_facts.get(path, found)
                size = fraction_header(facts, view.rendering, self.root.name_of(path)).data_end
                attributes = attributes_of(found).made_into(view.name + Kind.FRACTIONS.name, size)
                return Node(path, Kind.FRACTIONS, attributes, view)
        return None

    def _foreign(self, place: Path, view: View) -> Node | None:
        for name in foreign_names(place.name):
            path = place.with_name(name)
            found = self._tiff(path)
            if found is None:
                continue
            facts = self._foreign_facts(path, found)
            if facts is not None:
                size = foreign_header(facts).data_end
                attributes = attributes_of(found).made_into(Kind.FOREIGN.name, size)
                return Node(path, Kind.FOREIGN, attributes, view)
            if node := self._archived(path, view):
                # the file appears besides
                return replace(node, attributes=node.attributes.made_into(Kind.FOREIGN.name))
        return None

    def _tiff(self, path: Path) -> os.stat_result | None:
        """State of a file that is called like a TIFF movie, None of all others and where there is none."""
        if not path.name.endswith(TIFF_SUFFIXES) or path.name.startswith(DRAFT_PREFIX):
            return None
        found = self._lstat(path)
        return found if found and stat.S_ISREG(found.st_mode) else None

    def _foreign_facts(self, path: Path, found: os.stat_result) -> TiffFacts | None:
        """What a file says of itself as a TIFF movie of another program, None where it is none."""
        if original_name(path.name) is not None and self._original(path, found) is not None:
            return None
        return self._tiff_facts.get(path, found)

    def _holds_foreign(self, folder: Path) -> bool:
        """Whether a folder has TIFF movies of other programs; those called like archived movies do not count."""
        try:
            names = self.root.names(folder)
        except OSError:
            return False  # one that may not be read shows nothing anyway
        tiffs = (name for name in names if name.endswith(TIFF_SUFFIXES) and original_name(name) is None)
        return any(self._is_foreign(folder / name) for name in tiffs)

    def _eer_gain(self, place: Path, view: View) -> Node | None:
        """The gain reference of EER movies, in every folder that holds some."""
        gain = view.rendering.gain
        if place.name != GAIN_REFERENCE or gain is None or view.rendering.apply_gain:
            return None
        facts = self.first_eer(place.parent) if self.root.is_folder(place.parent) else None
        if facts is None or not gain.is_file():
            return None
        size = gain_header(facts, view.rendering).data_end
        attributes = attributes_of(gain.stat()).made_into(view.name + str(place), size)
        return Node(place, Kind.EER_GAIN, attributes, view)

    def _add_made_up(self, folder: Node, shown: dict[str, Attributes]) -> None:
        """Add names to a listing that no entry of the folder stands for: fractions and gain references."""
        for name, attributes in list(shown.items()):
            if name.endswith(EER_SUFFIX) and attributes.is_file:
                shown.setdefault(fractions_name(name), attributes.made_into(folder.view.name + Kind.FRACTIONS.name))
            elif attributes.is_file and self._is_foreign(folder.path / name, renamed=True):
                shown.setdefault(foreign_name(name) or name, attributes.made_into(Kind.FOREIGN.name))
        references = {GAIN_REFERENCE}
        if not folder.view.counts or any(name.endswith(MOVIE_SUFFIXES) for name in shown):
            for place in self._reference_folders(folder.path, folder.view):
                references |= self._references(place)
        for name in sorted(references - shown.keys()):
            if node := self._reference_above(folder.path / name, folder.view) or self._eer_gain(
                folder.path / name, folder.view
            ):
                shown[name] = node.attributes

    def _is_foreign(self, path: Path, *, renamed: bool = False) -> bool:
        """Whether a file is a TIFF movie of another program, be it damaged: its loss is to be seen.

        With `renamed`, archived movies that are called like one count, too.
        """
        try:
            found = self._tiff(path)
            if found is None:
                return False
            # what surveys have learned of TIFF movies comes first, so that the records of few files are read
            return self._foreign_facts(path, found) is not None or (renamed and self._original(path, found) is not None)
        except (CryofsError, OSError):
            return True

    def _shown_name(self, path: Path, found: os.stat_result, view: View) -> str | None:
        """Name under which a file of the archive appears, None where it does not."""
        if view.archive:
            return path.name
        if path.name.startswith(DRAFT_PREFIX) or (is_reference_name(path.name) and not view.counts):
            return None
        movie = original_name(path.name)
        if movie is None:
            return path.name
        try:
            return movie if self._original(path, found) else path.name
        except (DamagedError, OSError):
            return movie  # listed, so that its loss is seen; opening it tells what is wrong

    def _lstat(self, place: Path) -> os.stat_result | None:
        try:
            return self.root.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # a name may be fine, and too long with the suffix that the archive gives it
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise

    def _original(self, path: Path, found: os.stat_result) -> _Original | None:
        """What the record says of the original; None where the file is no archived movie."""
        return self._originals.get(path, found) if stat.S_ISREG(found.st_mode) else None


def _upwards(folder: Path, root: Path) -> list[Path]:
    """Folders from one up to the root of the archive."""
    below = folder.relative_to(root)
    return [root / part for part in (below, *below.parents)]


def _read_original(source: LocalFile) -> _Original | None:
    if not is_archived(source):
        return None
    record = read_record(source)
    original = record.original
    layout = layout_of(record, source.name)
    return _Original(layout.total_bytes, original.mtime_ns, original.atime_ns, original.mode, counts_bytes(record))


def _of_original(found: os.stat_result, original: _Original) -> Attributes:
    return replace(
        attributes_of(found),
        mode=stat.S_IFREG | original.mode,
        size=original.size,
        mtime_ns=original.mtime_ns,
        atime_ns=original.atime_ns,
    )
