"""Rename archived movies, and rename files over them, so that a kill leaves the names as before or as after.

An archived movie stays one where the new name can have one; its gain reference is made findable from the new folder
first. The calls of each case are listed in docs/concurrency.md.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

from cryofs.error_hints import explain
from cryofs.errors import CryofsError
from cryofs.formats.archive_names import archived_path, has_archived_form
from cryofs.ingest.moved_gains import MovedGains
from cryofs.ingest.thaw import remove_plain_twin
from cryofs.movies.twins import conflict
from cryofs.storage import changes
from cryofs.storage.atomic_file import regular_file, sync_folder
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import drop_lines
from cryofs.storage.journal import FileMark, Line, add_line, replace_line
from cryofs.system import renaming

log = logging.getLogger("cryofs")


class Moves:
    """Renames of names that the caller has locked.

    Parameters
    ----------
    gains : MovedGains
        Keeps gain references findable.
    thaw : callable
        Replaces the archived movie of a name by its original.
    has_writer : callable
        Returns whether a program has the file of a name open for writing.
    """

    def __init__(self, gains: MovedGains, thaw: Callable[[Path], None], has_writer: Callable[[Path], bool]):
        self._gains = gains
        self._thaw = thaw
        self._has_writer = has_writer

    def move(self, place: Path, target: Path, flags: int) -> None:
        """Rename a file where it, or the file that has the new name, is an archived movie.

        Raises
        ------
        OSError
            As that of rename(2); EISDIR and ENOTDIR if one of them is a folder.
        GainError
            The gain reference of the movie cannot be found from the new folder.
        """
        source_movie, target_movie = _is_archived(place), _is_archived(target)
        if flags == renaming.EXCHANGE:
            self._exchange(place, target, both=source_movie and target_movie)
            return
        if source_movie and place == target:
            return
        _check_folders(place, target)
        # the journal describes regular files that do not change
        is_special = any(os.path.lexists(one) and regular_file(one) is None for one in (place, target))
        is_written = any(self._has_writer(one) for one in (place, target))
        if is_special or is_written or not has_archived_form(target.name):
            for one in filter(_is_archived, (place, target)):
                self._thaw(one)
            _move_plain(place, target, flags)
        elif source_movie:
            self._move_archived(place, target)
        else:
            self._move_over(place, target)

    def _exchange(self, place: Path, target: Path, *, both: bool) -> None:
        if not both:
            for one in filter(_is_archived, (place, target)):
                self._thaw(one)
            _move_plain(place, target, renaming.EXCHANGE)
            return
        self._gains.provide(place, target.parent)
        self._gains.provide(target, place.parent)
        for one in (place, target):
            _remove_replaced_twin(one)
        _move_plain(archived_path(place), archived_path(target), renaming.EXCHANGE)

    def _move_archived(self, place: Path, target: Path) -> None:
        """Rename an archived movie to a name that is free, or has a plain file or an archived movie."""
        self._gains.provide(place, target.parent)
        remove_plain_twin(place)
        moved, replaced = archived_path(place), archived_path(target)
        if _is_archived(target):
            _remove_replaced_twin(target)
            _move_plain(moved, replaced, 0)
        elif os.path.lexists(target):
            self._replace(moved, replaced, target)
        else:
            _move_plain(moved, replaced, renaming.NO_REPLACE)

    def _move_over(self, place: Path, target: Path) -> None:
        """Rename a plain file over an archived movie."""
        with LocalFile.open(place) as file:
            changes.disk.sync(file.descriptor)
        _remove_replaced_twin(target)
        self._replace(place, target, archived_path(target))

    @staticmethod
    def _replace(moved: Path, name: Path, other: Path) -> None:
        """Rename a file, and remove the file of the other form that the name has; both names are in one folder.

        If a call fails after the rename, the rename is undone. If that fails too, the file keeps its new name, which
        the journal gives it, and the next change of the name, or a recovery, does the rest.
        """
        folder = name.parent
        line = Line("rename", FileMark.of(name.name, moved.lstat()), FileMark.of(other.name, other.lstat()))
        drop_lines(moved, name, other)
        add_line(folder, line)
        try:
            changes.disk.move_new(moved, name)
        except OSError:
            replace_line(folder, line, None)
            raise
        try:
            sync_folder(folder)
            if moved.parent != folder:
                sync_folder(moved.parent)
            changes.disk.remove(other)
        except OSError as error:
            if _is_undone(moved, name, line):
                raise
            log.error("%s: renamed, but %s is still there (%s)", name.name, other.name, explain(error))
            return
        try:
            sync_folder(folder)
            replace_line(folder, line, None)
        except (CryofsError, OSError) as error:
            log.error("%s: renamed, but the change may not be durable (%s)", name.name, error)


def _is_undone(moved: Path, name: Path, line: Line) -> bool:
    """Undo the rename of a step, and return whether that is done."""
    try:
        changes.disk.move_new(name, moved)
        for folder in {moved.parent, name.parent}:
            sync_folder(folder)
    except OSError:
        return not os.path.lexists(name)
    # without its line the file would not differ from a restored backup; with it, a recovery finds no step
    with contextlib.suppress(CryofsError, OSError):
        replace_line(name.parent, line, None)
    return True


def _move_plain(path: Path, target: Path, flags: int) -> None:
    """Rename a file in one call."""
    drop_lines(path, target)
    folder_flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    with contextlib.ExitStack() as stack:
        folders = []
        for folder in (path.parent, target.parent):
            folders.append(os.open(folder, folder_flags))
            stack.callback(os.close, folders[-1])
        changes.disk.move_in(folders[0], path.name, folders[1], target.name, flags)


def _check_folders(place: Path, target: Path) -> None:
    """Raise the error of rename(2) if one of two names is that of a folder."""
    if target.is_dir() and not target.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target.name)
    if place.is_dir() and not place.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target.name)


def _is_archived(place: Path) -> bool:
    return has_archived_form(place.name) and regular_file(archived_path(place)) is not None


def _remove_replaced_twin(target: Path) -> None:
    """Remove the plain file beside an archived movie in whose place another file is about to come.

    Raises
    ------
    DamagedError
        The archived movie is damaged, so the plain file may be the only copy.
    """
    remove_plain_twin(target)
    if regular_file(target) is not None:
        raise conflict(target.name, archived_path(target).name)
