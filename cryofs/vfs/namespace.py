"""Names and attributes: which file of the archive stands behind which name of the mount.

`X.mrc.tif` appears as `X.mrc`, beside `X.eer` its fractions as `X.mrc`, and beside a TIFF movie `X.tif` of another
program its frames as `X.mrc`, or the original if it is an archived movie that was renamed; the archive's own gain
references and drafts do not appear; everything else appears as it is. Views change some of this. Symbolic links are
shown as links; those called like EER and TIFF files are resolved beneath the archive for the `X.mrc` beside them.

Threads: any thread may call anything; what is known of files (`cryofs.vfs.facts`) has locks of its own.
"""

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

from cryofs.errors import CryofsError, FormatError
from cryofs.formats.archive_names import (
    GAIN_REFERENCE,
    archived_name,
    eer_names,
    foreign_name,
    foreign_names,
    fractions_name,
    is_eer_name,
    is_movie_name,
    is_own_name,
    is_reference_name,
    is_tiff_name,
    original_name,
)
from cryofs.movies.eer_rendering import EerFacts, Rendering, fraction_header, gain_header
from cryofs.movies.tiff import foreign_header
from cryofs.vfs.archive_root import Root
from cryofs.vfs.attributes import Attributes, attributes_of
from cryofs.vfs.damage import Damage
from cryofs.vfs.facts import Facts, Original
from cryofs.vfs.inodes import FolderInodes
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.links import target_beneath
from cryofs.vfs.nodes import Kind, Node, Source, made_at, made_of_source, plain_node
from cryofs.vfs.references import GainReferences
from cryofs.vfs.views import View, view_called

_LONGEST_NAME = 255
# Size of a movie whose size cannot be known: not 0, because programs that copy files may skip reading empty ones and
# report success, and not that of the stored file, which a program could take for the size of the movie.
_UNKNOWN_SIZE = 1


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
        self.facts = Facts(root, io)
        self._references = GainReferences(root, io, self._holds_foreign, self.facts.gain)
        # EER files that a listing had to take for movies, because it could not wait for them
        self._taken_for_movies: set[Path] = set()

    def lookup(self, path: str) -> Node:
        """Node behind an absolute path of the mount.

        Raises
        ------
        FileNotFoundError
            There is none.
        OSError
            The name is too long for any file, or its attributes cannot be read.
        StuckError
            Storage did not respond.
        """
        view, place = self._view_of(path)
        if not view.archive and any(map(is_own_name, place.relative_to(self.root.path).parts)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if place == self.root.path:
            return plain_node(self.root, place, self.root.lstat(place), view)
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

        If storage does not respond, the type of a file is inferred from its name.
        """
        folder = self.lookup(path)
        inodes = FolderInodes(self.root, folder.path)
        shown: dict[str, Attributes] = {}
        files: list[tuple[Path, os.stat_result]] = []
        for name, found in self.root.entries(folder.path):
            appears = self._appears(folder.path / name, found, folder.view)
            if appears is None:
                continue
            appears_as, kind = appears
            attributes = inodes.attributes(name, found, folder.view.name)
            if kind is Kind.PLAIN:
                files.append((folder.path / name, found))
            else:
                attributes = made_at(self.root, folder.path / appears_as, attributes, kind, folder.view)
            shown[appears_as] = attributes
        if not folder.view.archive:
            self._add_made_up(folder, shown, files)
        return list(shown.items())

    def first_eer(self, folder: Path) -> EerFacts | None:
        """What the first readable EER file of a folder says of itself."""
        for name, found in self.root.entries(folder):
            if is_eer_name(name):
                try:
                    source = self._behind(folder / name, found)
                    facts = self.facts.eer(source.path, source.found) if source else None
                except (CryofsError, OSError):
                    continue
                if facts is not None and not isinstance(facts, Damage):
                    return facts
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
            or self._reference(place, view)
            or self._fractions(place, view)
            or self._foreign(place, view)
            or self._eer_gain(place, view)
        )

    def _movie(self, place: Path, view: View) -> Node | None:
        if not is_movie_name(place.name):
            return None
        path = place.with_name(archived_name(place.name))
        found = self._lstat(path)
        return self._archived(place, Source(path, found), view) if found else None

    def _archived(self, place: Path, source: Source, view: View, shown_as: Kind | None = None) -> Node | None:
        """An archived movie, whatever its file is called."""
        original = self.facts.original(source.path, source.found)
        if original is None:
            return None
        kind = _kind_of(original, view)
        made = made_of_source(self.root, place, source, shown_as or kind, view)
        if isinstance(original, Damage):
            return Node(source.path, kind, replace(made, size=_UNKNOWN_SIZE), view, source.found, has_size=False)
        size = original.size if original.counts_bytes is None or kind is Kind.MOVIE else original.counts_bytes
        return Node(source.path, kind, _of_original(made, original, size), view, source.found)

    def _plain(self, place: Path, view: View) -> Node | None:
        found = self._lstat(place)
        if found is None or self._appears(place, found, view) != (place.name, Kind.PLAIN):
            return None
        return plain_node(self.root, place, found, view)

    def _reference(self, place: Path, view: View) -> Node | None:
        """A gain reference of the archive, where it appears."""
        if reference := self._references.find(place, view.counts):
            path, found = reference
            node = plain_node(self.root, path, found, view)
            if path == place:
                return node
            attributes = made_at(self.root, place, node.attributes, Kind.REFERENCE, view, by_place=True)
            return replace(node, kind=Kind.REFERENCE, attributes=attributes)
        return None

    def _fractions(self, place: Path, view: View) -> Node | None:
        for name in eer_names(place.name):
            source = self._source(place.with_name(name))
            facts = self.facts.eer(source.path, source.found) if source else None
            if source is None or facts is None:
                continue
            if isinstance(facts, Damage) and not facts.listed and source.path not in self._taken_for_movies:
                continue
            size = None if isinstance(facts, Damage) else _size_of_fractions(facts, view.rendering)
            return self._made_of(place, source, Kind.FRACTIONS, view, size)
        return None

    def _foreign(self, place: Path, view: View) -> Node | None:
        for name in foreign_names(place.name):
            source = self._tiff(place.with_name(name))
            if source is None:
                continue
            facts = self.facts.tiff(source.path, source.found)
            if facts is not None:
                if isinstance(facts, Damage) and not facts.listed:
                    continue
                size = None if isinstance(facts, Damage) else foreign_header(facts).data_end
                return self._made_of(place, source, Kind.FOREIGN, view, size)
            # the file appears besides
            if node := self._archived(place, source, view, shown_as=Kind.FOREIGN):
                return node
        return None

    def _made_of(self, place: Path, source: Source, kind: Kind, view: View, size: int | None) -> Node:
        """What a source is shown as; None: its size cannot be known."""
        made = replace(made_of_source(self.root, place, source, kind, view), size=size or _UNKNOWN_SIZE)
        return Node(source.path, kind, made, view, source.found, has_size=size is not None)

    def _source(self, path: Path) -> Source | None:
        """The file under a name, or behind a link of that name, None if there is none."""
        found = self._lstat(path)
        return self._behind(path, found) if found else None

    def _behind(self, path: Path, found: os.stat_result) -> Source | None:
        """The file itself or, for a link, the one that it leads to, if the mount shows that as it is."""
        if stat.S_ISREG(found.st_mode):
            return Source(path, found)
        try:
            target = target_beneath(self.root, path) if stat.S_ISLNK(found.st_mode) else None
            if target is None or any(map(is_own_name, target.relative_to(self.root.path).parts)):
                return None
            at_target = self.root.lstat(target)
        except OSError:
            return None  # a link that cannot be followed is shown as a link only
        is_plain = self._appears(target, at_target, View("", self._rendering)) == (target.name, Kind.PLAIN)
        return Source(target, at_target, True) if is_plain and stat.S_ISREG(at_target.st_mode) else None

    def _tiff(self, path: Path) -> Source | None:
        """A file that is called like a TIFF movie, None of all others and where there is none."""
        if not is_tiff_name(path.name):
            return None
        return self._source(path)

    def _holds_foreign(self, folder: Path) -> bool:
        """Whether a folder has TIFF movies of other programs; those called like archived movies do not count."""
        try:
            names = self.root.names(folder)
        except OSError:
            return False  # one that may not be read shows nothing anyway
        tiffs = (name for name in names if is_tiff_name(name) and original_name(name) is None)
        return any(self._is_foreign(folder / name) for name in tiffs)

    def _eer_gain(self, place: Path, view: View) -> Node | None:
        """The gain reference of EER movies, in every folder that holds some."""
        gain = view.rendering.gain
        if place.name != GAIN_REFERENCE or gain is None or view.rendering.apply_gain:
            return None
        facts = self.first_eer(place.parent) if self.root.is_folder(place.parent) else None
        try:
            found = gain.stat()
        except OSError:
            return None  # opening a movie that is multiplied with it reports the error
        if facts is None or not stat.S_ISREG(found.st_mode):
            return None
        size = gain_header(facts, view.rendering).data_end
        attributes = made_at(self.root, place, attributes_of(found), Kind.EER_GAIN, view, by_place=True)
        return Node(place, Kind.EER_GAIN, replace(attributes, size=size), view, None)

    def _add_made_up(
        self, folder: Node, shown: dict[str, Attributes], files: list[tuple[Path, os.stat_result]]
    ) -> None:
        """Add the names of movies that are made of files of the folder, and of gain references."""
        for path, found in files:
            if is_eer_name(path.name):
                self._add_made(folder, shown, path, found, fractions_name(path.name), Kind.FRACTIONS)
            elif self._is_foreign(path, renamed=True):
                self._add_made(folder, shown, path, found, foreign_name(path.name) or path.name, Kind.FOREIGN)
        references = {GAIN_REFERENCE}
        if not folder.view.counts or any(map(is_movie_name, shown)):
            references |= self._references.names(folder.path, folder.view.counts)
        for name in sorted(references - shown.keys()):
            place = folder.path / name
            if node := self._reference(place, folder.view) or self._eer_gain(place, folder.view):
                shown[name] = node.attributes

    def _add_made(
        self,
        folder: Node,
        shown: dict[str, Attributes],
        path: Path,
        found: os.stat_result,
        made_name: str,
        kind: Kind,
    ) -> None:
        """Add the name of a movie that is made of a listed file, or of the one that a listed link leads to."""
        source = self._behind(path, found)
        if source and (kind is not Kind.FRACTIONS or self._is_eer(source.path, source.found)):
            made = made_of_source(self.root, folder.path / made_name, source, kind, folder.view)
            shown.setdefault(made_name, replace(made, mode=stat.S_IFREG | stat.S_IMODE(made.mode)))

    def _is_eer(self, path: Path, found: os.stat_result) -> bool:
        """Return True if an EER file has frames, or if storage does not respond."""
        try:
            facts = self.facts.eer(path, found)
        except (CryofsError, OSError):
            self._taken_for_movies.add(path)
            return True
        return not isinstance(facts, Damage) or facts.listed

    def _is_foreign(self, path: Path, *, renamed: bool = False) -> bool:
        """Return True if a file is a TIFF movie of another program, or a damaged one, whose loss is to be seen.

        With `renamed`, archived movies that are called like one count, too.
        """
        try:
            source = self._tiff(path)
            if source is None:
                return False
            path, found, _ = source
            # what surveys have learned of TIFF movies comes first, so that the records of few files are read
            facts = self.facts.tiff(path, found)
            if isinstance(facts, Damage):
                return facts.listed
            return facts is not None or (renamed and self.facts.original(path, found) is not None)
        except (CryofsError, OSError):
            return True

    def _appears(self, path: Path, found: os.stat_result, view: View) -> tuple[str, Kind] | None:
        """Name under which a file of the archive appears, and as what; None where it does not."""
        as_it_is = path.name, Kind.PLAIN
        if view.archive:
            return as_it_is
        if is_own_name(path.name):
            return None
        if is_reference_name(path.name) and stat.S_ISREG(found.st_mode) and not view.counts:
            return None
        movie = original_name(path.name)
        if movie is None:
            return as_it_is
        try:
            original = self.facts.original(path, found)
            return (movie, _kind_of(original, view)) if original else as_it_is
        except OSError:
            return movie, Kind.MOVIE  # listed, so that its loss is seen; opening it reports the error

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


def _size_of_fractions(facts: EerFacts, rendering: Rendering) -> int | None:
    """Size of an EER file as fractions, None if it cannot be rendered as wanted; opening it reports why."""
    try:
        return fraction_header(facts, rendering, "").data_end
    except FormatError:
        return None


def _kind_of(original: Original | Damage, view: View) -> Kind:
    """As what an archived movie is shown."""
    has_counts = isinstance(original, Original) and original.counts_bytes is not None
    return Kind.COUNTS if view.counts and has_counts else Kind.MOVIE


def _of_original(made: Attributes, original: Original, size: int) -> Attributes:
    """Attributes of an archived movie with what its record says of the original."""
    return replace(
        made,
        mode=stat.S_IFREG | original.mode,
        size=size,
        mtime_ns=original.mtime_ns,
        atime_ns=original.atime_ns,
    )
