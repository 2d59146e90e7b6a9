"""The namespace of a mount: how names map to stored files, and their attributes.

Movies appear as defined by their kinds (`cryofs.vfs.entries`). The archive's own gain references and drafts are hidden.
All other files appear unchanged, and symbolic links as links. Views change these rules (`cryofs.vfs.views`).

Threads: thread-safe; cached metadata (`cryofs.vfs.facts`) have their own locks.
"""

import errno
import os
from pathlib import Path

from msgspec.structs import replace

from cryofs.formats.archive_names import is_movie_name, is_own_name
from cryofs.movies import registry
from cryofs.movies.provider import ShowOptions
from cryofs.system.paths import LONGEST_NAME
from cryofs.vfs.archive_root import Root
from cryofs.vfs.entries import Entries
from cryofs.vfs.facts import Facts
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.kept_inodes import KeptInodes
from cryofs.vfs.nodes import Node, made_at, plain_node
from cryofs.vfs.references import GainReferences
from cryofs.vfs.removed_names import RemovedNames
from cryofs.vfs.twins import Twins
from cryofs.vfs.views import View, view_called

# Part of the inode hash of a gain reference that appears in a folder other than its own.
_REFERENCE = "REFERENCE"


class Tree:
    """The namespace of a mount.

    Parameters
    ----------
    root : Root
        The archive.
    options : ShowOptions
        Options of the main view.

    Attributes
    ----------
    main : View
        The main view.
    removed : RemovedNames
        Names of derived files that are hidden, because a program has removed them.
    inodes : KeptInodes
        Inode numbers of files that replaced others.
    """

    def __init__(self, root: Root, io: IoExecutor, options: ShowOptions):
        self.root = root
        self.options = options
        self.main = View("", options)
        self.entries = Entries(root, io, self.main, lambda folder: self._references.nearest(folder))
        self.removed = RemovedNames()
        self.inodes = KeptInodes()
        self._twins = Twins(root, self.entries)
        self._references = GainReferences(root, io, self.entries.needs_references, self.entries.gain)

    @property
    def facts(self) -> Facts:
        """Cached metadata of the archive's files."""
        return self.entries.facts

    def lookup(self, path: str) -> Node:
        """Return the node of an absolute path of the mount, with the inode number that is shown.

        Raises
        ------
        FileNotFoundError
            The name does not exist.
        OSError
            The name exceeds the limit of the file system, or its attributes cannot be read.
        StuckError
            Storage did not respond.
        """
        return self.inodes.consistent(lambda: self.as_shown(self._lookup(path)))

    def as_shown(self, node: Node) -> Node:
        """Return a node with the inode number that is shown."""
        own = node.attributes.inode
        number = self.inodes.shown(own)
        return node if number == own else replace(node, attributes=replace(node.attributes, inode=number))

    def _lookup(self, path: str) -> Node:
        view, place = self.view_of(path)
        if not view.stored_files and any(map(is_own_name, self.root.below(place))):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if place == self.root.path:
            return plain_node(self.root, place, self.root.lstat(place), view)
        node = self.node(place, view)
        if node is None:
            code = errno.ENAMETOOLONG if len(os.fsencode(place.name)) > LONGEST_NAME else errno.ENOENT
            raise OSError(code, os.strerror(code), path)
        return node

    def place(self, path: str) -> Path:
        """Return the place in the archive for a path of the mount, without accessing storage.

        If the archive has an entry named like a view, that entry takes precedence in `lookup`, and the place found
        there differs.
        """
        first, _, rest = path.lstrip("/").partition("/")
        return self.root.path / (rest if view_called(first, self.options) else path.lstrip("/"))

    def found(self, path: str) -> Node | None:
        """Return the node behind a path of the mount, or None if it does not exist."""
        try:
            return self.lookup(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def view_of(self, path: str) -> tuple[View, Path]:
        """Return the view and the place in the archive of a path of the mount."""
        first, _, rest = path.lstrip("/").partition("/")
        view = view_called(first, self.options)
        if view is None or self.entries.lstat(self.root.path / first) is not None:
            return self.main, self.root.path / path.lstrip("/")
        return view, self.root.path / rest

    def node(self, place: Path, view: View) -> Node | None:
        """Return the node of a place, or None; stored files take precedence over derived files beside them.

        The inode number is that of the file itself; see `as_shown`.
        """
        if view.stored_files:
            return self._plain(place, view)
        return (
            self._replacing(place, view)
            or self._plain(place, view)
            # the archived movie may have got its name, and the plain file lost it, since the first look
            or (self._replacing(place, view) if is_movie_name(place.name) else None)
            or self._reference(place, view)
            or self.unless_removed(place, self.entries.beside(place, view))
            or self.unless_removed(place, self.entries.folder_file(place, view))
        )

    def unless_removed(self, place: Path, node: Node | None) -> Node | None:
        """Return the node of a derived file, or None if a program has removed it."""
        return None if node is None or self.removed.hides(place, node.path, node.stored) else node

    def _replacing(self, place: Path, view: View) -> Node | None:
        """Return the node of the movie that appears under this name in place of its stored file, or None."""
        node = self.entries.replacing(place, view)
        return None if node is None else self._twins.settled(place, node)

    def _plain(self, place: Path, view: View) -> Node | None:
        found = self.entries.lstat(place)
        if found is None or self.entries.appears(place, found, view) != (place.name, None):
            return None
        return plain_node(self.root, place, found, view)

    def _reference(self, place: Path, view: View) -> Node | None:
        """Return the node of a gain reference that appears at a place, or None."""
        if not view.hides_references and (reference := self._references.find(place, view.references)):
            path, found = reference
            node = plain_node(self.root, path, found, view)
            if path == place:
                return node
            attributes = made_at(self.root, place, node.attributes, view, _REFERENCE, by_place=True)
            return self.unless_removed(place, replace(node, attributes=attributes, is_elsewhere=True))
        return None

    def added_names(self, folder: Node, *, has_movies: bool) -> list[str]:
        """Return the sorted names of files from elsewhere that may appear in a folder; see `added`."""
        view = folder.view
        if view.stored_files:
            return []
        added = (one for one in registry.FOLDER_PROVIDERS if view.references or one.stored_at(view.options) is not None)
        names = {provider.name for provider in added}
        if not view.hides_references and (has_movies or not view.references):
            names |= self._references.names(folder.path, view.references)
        return sorted(names)

    def added(self, place: Path, view: View) -> Node | None:
        """Return the node of a gain reference or of a file added to the folder of a kind of movies, or None."""
        return self._reference(place, view) or self.unless_removed(place, self.entries.folder_file(place, view))
