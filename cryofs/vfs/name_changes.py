"""Changes of the names in a writable mount: create, rename, remove.

Threads: safe to call from any thread.
"""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.errors import DamagedError
from cryofs.formats.archive_names import GAIN_REFERENCE, is_own_name
from cryofs.movies import registry
from cryofs.movies.provider import Provider
from cryofs.storage import changes
from cryofs.storage.atomic_file import DRAFT_PREFIX
from cryofs.storage.checksum_lists import LIST_NAME, ListReader
from cryofs.storage.file_lock import is_left, is_lock_of
from cryofs.storage.journal import JOURNAL_NAME
from cryofs.system import renaming
from cryofs.vfs.archive_root import path_in
from cryofs.vfs.callers import Caller, check_caller, give
from cryofs.vfs.changing import ArchivedMovies, MountParts
from cryofs.vfs.leaving_names import HiddenFiles, LeavingNames, is_hidden_name
from cryofs.vfs.name_policy import refusal
from cryofs.vfs.new_folders import NewFolders
from cryofs.vfs.nodes import Node

# Drafts may come into a folder while it is removed.
_ATTEMPTS = 3

log = logging.getLogger("cryofs")


def is_archived(node: Node, place: Path) -> bool:
    """Return True if a node of the main view is an archived movie in its own place."""
    kind = node.kind
    return isinstance(kind, Provider) and kind.replaces_stored and node.path.parent == place.parent


def read_only(path: str) -> OSError:
    """Return the error of changes of derived files."""
    return OSError(errno.EROFS, "derived files and views are read-only", path)


def _is_derived(node: Node | None, place: Path) -> bool:
    return node is not None and not node.is_plain and not is_archived(node, place)


class NameChanges:
    """Changes of names; each takes paths of the mount.

    Parameters
    ----------
    forget : callable
        Called with each path whose file changed, to drop what is remembered of the kernel's pages.

    Attributes
    ----------
    hidden : HiddenFiles
        Open files without a name.
    leaving : LeavingNames
        Names that are about to be removed.
    """

    def __init__(self, parts: MountParts, archived: ArchivedMovies, forget: Callable[[str], None]):
        self._root, self._tree, self._live = parts.root, parts.tree, parts.live
        self._names, self._times = parts.names, parts.times
        self._archived, self._forget = archived, forget
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self.hidden, self.leaving = HiddenFiles(), LeavingNames(self._remove_left)
        self._lists, self._new_folders = ListReader(), NewFolders(self._root)

    def place(self, path: str) -> Path:
        """Return the place of a path in the main view; OSError (EROFS) for a path in another view."""
        view, place = self._tree.view_of(path)
        if view.name:
            raise read_only(path)
        return place

    def new_place(self, path: str) -> Path:
        """Return the place of a path that a file may get; OSError (EPERM) if its name is refused."""
        place = self.place(path)
        reason = refusal(self._root, place, self._tree.options, self._tree.entries.needs_references)
        if reason is not None:
            log.warning("%s: refused; %s", path, reason)
            raise OSError(errno.EPERM, reason, path)
        return place

    def create(self, path: str, mode: int, caller: Caller) -> int:
        """Create a file; return its descriptor, for reading and writing. Called with the name locked."""
        place = self.new_place(path)
        check_caller(caller)
        with self._times.changing(place), self._root.above(place) as folder:
            try:
                descriptor = changes.disk.create_in(folder, place.name, stat.S_IMODE(mode))
            except FileExistsError as error:
                raise self._exists(place, path) from error
            try:
                with self._undone(lambda: changes.disk.remove_in(folder, place.name)):
                    give(folder, place.name, caller)
                    if mode & self._umask or mode & (stat.S_ISUID | stat.S_ISGID):
                        changes.disk.set_mode(descriptor, stat.S_IMODE(mode))
            except BaseException:
                os.close(descriptor)
                raise
        self.drop_checksum(place)
        return descriptor

    def make_folder(self, path: str, mode: int, caller: Caller) -> None:
        """Create a folder."""
        place = self.new_place(path)
        check_caller(caller)
        self.leaving.settle(place)
        with self._names.changing(place), self._times.changing(place), self._root.above(place) as folder:
            self._check_free(place, path)
            changes.disk.make_folder_in(folder, place.name, stat.S_IMODE(mode))
            with self._undone(lambda: changes.disk.remove_folder_in(folder, place.name)):
                give(folder, place.name, caller)
                inherited = os.stat(place.name, dir_fd=folder, follow_symlinks=False).st_mode & stat.S_ISGID
                if mode & self._umask:
                    changes.disk.set_mode(path_in(folder, place.name), stat.S_IMODE(mode) | inherited)
            self._new_folders.add(place)

    def link_to(self, text: str, path: str, caller: Caller) -> None:
        """Create a symbolic link with this text."""
        place = self.new_place(path)
        check_caller(caller)
        self.leaving.settle(place)
        with self._names.changing(place), self._times.changing(place), self._root.above(place) as folder:
            self._check_free(place, path)
            changes.disk.link_to_in(text, folder, place.name)
            with self._undone(lambda: changes.disk.remove_in(folder, place.name)):
                give(folder, place.name, caller)

    def remove(self, path: str) -> None:
        """Remove a file or link, or hide a derived file."""
        if self.hidden.remove(path):
            return
        place = self.place(path)
        self.leaving.settle(place)
        with self._names.changing(place), self._times.changing(place):
            node = self._tree.found(path)
            if node is None and self._tree.removed.has_vanished(place):
                return
            self._remove(place, node or self._tree.lookup(path))
        self._forget(path)

    def remove_folder(self, path: str) -> None:
        """Remove a folder that shows no names except removed and derived ones."""
        place = self.place(path)
        self.leaving.settle_in(place)
        with self._names.changing(place), self._times.changing(place), self._root.above(place) as folder:
            for _ in range(_ATTEMPTS):
                self._clear(place, path)
                try:
                    changes.disk.remove_folder_in(folder, place.name)
                except OSError as error:
                    # a draft for a movie that was removed a moment ago
                    if error.errno != errno.ENOTEMPTY:
                        raise
                else:
                    self._new_folders.removed(place)
                    return
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)

    def move(self, path: str, target_path: str, flags: int) -> None:
        """Rename with the flags of renameat2(2); one of libfuse's hidden names begins a removal."""
        if flags not in (0, renaming.NO_REPLACE, renaming.EXCHANGE):
            raise OSError(errno.EINVAL, "flags not supported", path)
        if is_hidden_name(path, target_path):
            self._hide(path, target_path)
            return
        place = self.place(path) if flags != renaming.EXCHANGE else self.new_place(path)
        target = self.new_place(target_path)
        if flags or not self.leaving.take(target):
            self.leaving.settle(target)
        self.leaving.settle(place)
        is_folder = self._root.is_folder(place) or self._root.is_folder(target)
        if is_folder:
            self.leaving.settle_below(place)
            self.leaving.settle_below(target)
        locked = self._names.all_locked() if is_folder else self._names.changing(place, target)
        with locked, self._times.changing(place, target):
            self._move((path, place), (target_path, target), flags)
        self._forget(path)
        self._forget(target_path)
        if is_folder:
            self.hidden.moved(path, target_path)
        else:
            self._archived.plain_closed(target)

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        place = self._tree.view_of(path)[1]
        self.leaving.settle_in(place)
        self.sync_place(place)

    def sync_place(self, folder: Path) -> None:
        """Make the names in a folder of the archive durable, and those of the new folders on the way to it."""
        self._new_folders.sync(folder)

    def drop_checksum(self, place: Path) -> None:
        """Remove the recorded checksum of a file that is about to change."""
        if self._lists.recorded(place) is not None:
            with self._times.kept(place.parent), self._lists.replacing(place):
                pass

    def _hide(self, path: str, hidden: str) -> None:
        place = self.place(path)
        self.leaving.settle(place)
        with self._names.locked(place):
            node = self._tree.lookup(path)
            if is_archived(node, place):
                self._archived.check_removable(place)
            live = self._live.find(place)
            if node.is_plain and live is None:
                # a program chose such a name itself, because libfuse hides open files only
                raise OSError(errno.EPERM, "this name belongs to libfuse", hidden)
            self.hidden.add(hidden, live, node.attributes)
        self.leaving.add(place)

    def _remove_left(self, place: Path) -> None:
        """Remove a name whose file libfuse has hidden."""
        path = "/" + "/".join(self._root.below(place))
        with self._names.changing(place), self._times.changing(place), contextlib.suppress(FileNotFoundError):
            self._remove(place, self._tree.lookup(path))
        self._forget(path)

    def _remove(self, place: Path, node: Node) -> None:
        check_whole(node)
        if node.is_plain:
            derived = self._derived(place, node)
            self.drop_checksum(place)
            with self._root.above(place) as folder:
                changes.disk.remove_in(folder, place.name)
            for one in derived:
                self._tree.removed.vanish(one)
        elif is_archived(node, place):
            self._archived.remove(place)
        else:
            self._tree.removed.add(place, node)
            return
        self._live.removed(place)

    def _derived(self, place: Path, node: Node) -> list[Path]:
        """Return places of derived names that may vanish with a file."""
        if node.stored is None or not registry.providers_of(place.name):
            return []
        beside = self._tree.entries.listed_beside(place, node.stored, self._tree.main)
        added = [GAIN_REFERENCE, *(provider.name for provider in registry.FOLDER_PROVIDERS)]
        return [place.with_name(name) for name in [*([beside[0]] if beside else []), *added]]

    def _move(self, source: tuple[str, Path], to: tuple[str, Path], flags: int) -> None:
        (path, place), (target_path, target) = source, to
        moved, replaced = self._tree.lookup(path), self._tree.found(target_path)
        for node in filter(None, (moved, replaced)):
            check_whole(node)
        if _is_derived(moved, place) or (flags == renaming.EXCHANGE and _is_derived(replaced, target)):
            raise read_only(path)
        if flags == renaming.NO_REPLACE and replaced is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target_path)
        if flags == renaming.EXCHANGE and replaced is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target_path)
        self._check_not_hidden(target, target_path, replaced)
        if is_archived(moved, place) or (replaced is not None and is_archived(replaced, target)):
            self._archived.move(place, target, flags)
        else:
            if stat.S_ISDIR(moved.attributes.mode) and replaced is not None and flags == 0:
                self._clear(target, target_path)
            for one, stood, other in ((place, moved, target), (target, replaced, place)):
                if stood is not None and stat.S_ISDIR(stood.attributes.mode):
                    self._archived.folder_moves(one, other)
            for one in (place, target):
                self.drop_checksum(one)
            with self._root.above(place) as folder, self._root.above(target) as target_folder:
                changes.disk.move_in(folder, place.name, target_folder, target.name, flags)
        if flags == renaming.EXCHANGE:
            self._live.exchanged(place, target)
            self._new_folders.exchanged(place, target)
        else:
            self._live.moved(place, target)
            if stat.S_ISDIR(moved.attributes.mode):
                self._new_folders.moved(place, target)

    def _clear(self, place: Path, path: str) -> None:
        """Remove what cryofs keeps in a folder that shows nothing else; OSError (ENOTEMPTY) if it shows something."""
        names = self._root.names(place)
        not_empty = OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        for name in names:
            if is_own_name(name):
                is_left_lock = is_lock_of(name, JOURNAL_NAME, LIST_NAME) and is_left(place / name)
                if not (name == LIST_NAME or name.startswith(DRAFT_PREFIX) or is_left_lock):
                    log.warning("%s: not removed, because %s is in use", path, name)
                    raise not_empty
            elif self._tree.found(f"{path}/{name}") is not None or not self._is_hidden_reference(place / name):
                raise not_empty
        with self._root.folder(place) as folder:
            for name in names:
                # the process that writes a draft may remove it first
                with contextlib.suppress(FileNotFoundError):
                    changes.disk.remove_in(folder, name)

    def _is_hidden_reference(self, place: Path) -> bool:
        """Return True if a stored file is a gain reference that readers do not see here."""
        found = self._root.lstat(place)
        return stat.S_ISREG(found.st_mode) and self._tree.entries.appears(place, found, self._tree.main) is None

    def _check_free(self, place: Path, path: str) -> None:
        """Raise FileExistsError if a name shows a file, and PermissionError if it belongs to cryofs."""
        node = self._tree.found(path)
        if node is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._check_not_hidden(place, path, node)

    def _check_not_hidden(self, place: Path, path: str, node: Node | None) -> None:
        if (node is None or not node.is_plain) and self._tree.entries.lstat(place) is not None:
            if node is not None and is_archived(node, place):
                return
            log.warning("%s: refused; the archive has a gain reference of its own of this name", path)
            raise OSError(errno.EPERM, "the archive has a file of this name", path)

    def _exists(self, place: Path, path: str) -> OSError:
        """Return the error for a name that could not be created, because it exists."""
        try:
            self._check_not_hidden(place, path, self._tree.found(path))
        except OSError as error:
            return error
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    @staticmethod
    @contextlib.contextmanager
    def _undone(undo: Callable[[], object]) -> Iterator[None]:
        """Undo the creation of a name if what follows in the context fails."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                undo()
            raise


def check_whole(node: Node) -> None:
    """Raise DamagedError for a name of which neither the plain file nor the archived movie counts."""
    if node.problem is not None:
        raise DamagedError(node.problem)
