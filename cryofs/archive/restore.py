"""Restore one original; existing files are replaced only with `overwrite`."""

import contextlib
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryofs.archive.adopted import restore_adopted
from cryofs.archive.progress import OnFrame
from cryofs.archive.same_bytes import file_difference, movie_difference, tiff_difference
from cryofs.archive.verify import Checked, feed
from cryofs.errors import ArchiveError
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.storage import atomic_file, changes, file_copy, file_links
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import ListReader, mismatch_error


@dataclass
class Extracted(Checked):
    """Results of a run; `unchanged` counts movies and files that already existed with the same bytes."""

    unchanged: int = 0


class Restorer:
    """Restoration of originals, one at a time.

    Parameters
    ----------
    overwrite : bool
        Whether to replace files that already exist.
    """

    def __init__(self, gains: GainLibrary, pool: Executor, figures: Extracted, on_frame: OnFrame, *, overwrite: bool):
        self._gains = gains
        self._pool = pool
        self._figures = figures
        self._on_frame = on_frame
        self._overwrite = overwrite
        self._lists = ListReader()

    def link(self, source: Path, target: Path) -> bool:
        """Restore a symbolic link; see `file` for the return value and errors."""
        exists = target.is_symlink() or target.exists()
        if exists and not self._overwrite:
            if not target.is_symlink() or target.readlink() != source.readlink():
                raise _refused(target, f"is not a link to {source.readlink()}")
            return False
        if target.is_dir() and not target.is_symlink():
            raise ArchiveError(f"{target}: expected a link, got a folder; move it, or pass another folder with -o")
        with self._lists.replacing(target):
            file_links.make_link(target, source.readlink(), overwrite=True)
        return True

    def file(self, source: Path, target: Path) -> bool:
        """Restore a file from its plain copy in the archive.

        Returns
        -------
        bool
            True if the file was restored, False if it already exists with the same bytes.

        Raises
        ------
        ArchiveError
            A different file already exists under the target name.
        """

        def difference(there: LocalFile) -> int | None:
            with LocalFile.open(source) as stored:
                return file_difference(there, stored)

        if self._exists(target, source.stat().st_size, difference):
            self._figures.unchanged += 1
            return False
        file_copy.copy_file(source, target, partial(self._replacing, source))
        self._figures.files += 1
        return True

    def movie(self, source: Path, target: Path) -> bool:
        """Restore the original of an archived movie; see `file` for the return value and errors."""
        with ArchivedMovie(source.absolute(), self._gains, self._pool) as movie:
            adopted = movie.record.adopted

            def difference(there: LocalFile) -> int | None:
                if adopted is None:
                    return movie_difference(there, movie, on_frame=self._on_frame)
                found = tiff_difference(there, movie)
                self._on_frame(movie.layout.frames)
                return found

            if self._exists(target, adopted.bytes if adopted else movie.layout.total_bytes, difference):
                self._figures.unchanged += 1
                return False
            self._restore(movie, target)
            self._figures.count(movie)
            return True

    def _exists(self, target: Path, size: int, difference: Callable[[LocalFile], int | None]) -> bool:
        """Return True if the target already exists with equal bytes, False if it must be restored.

        Raises
        ------
        ArchiveError
            The target exists and differs.
        """
        if self._overwrite:
            return False
        try:
            found = target.lstat()
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(found.st_mode):
            return False  # False, because the restoration reports this error
        if not stat.S_ISREG(found.st_mode):
            raise _refused(target, "is a symbolic link" if target.is_symlink() else "is not a regular file")
        if found.st_size != size:
            raise _refused(target, f"differs in size (expected {size} bytes, got {found.st_size})")
        with LocalFile.open(target) as there:
            offset = difference(there)
        if offset is not None:
            raise _refused(target, f"differs from the archive (first difference at byte {offset})")
        return True

    def _restore(self, movie: ArchivedMovie, target: Path) -> None:
        original = movie.record.original
        with atomic_file.draft(target) as made:
            if movie.record.adopted is not None:
                restore_adopted(movie, made.file.write)
                self._on_frame(movie.layout.frames)
            else:
                feed(movie, made.write, self._on_frame)
            changes.disk.set_mode(made.file.fileno(), original.mode)
            with atomic_file.naming(target):
                made.file.flush()
            changes.disk.set_times(made.file.fileno(), original.atime_ns, original.mtime_ns)
            made.sync()
            with self._lists.replacing(target):
                made.publish()

    @contextlib.contextmanager
    def _replacing(self, source: Path, target: Path, sha256: str) -> Iterator[None]:
        """Check the SHA-256 of a restored draft against the recorded one, then let the caller rename it."""
        expected = self._lists.recorded(source)
        if expected not in (None, sha256):
            raise mismatch_error(source, expected, sha256)
        with self._lists.replacing(target, sha256):
            yield


def _refused(target: Path, reason: str) -> ArchiveError:
    return ArchiveError(f"{target}: already exists and {reason}; rename this file, or pass --overwrite to replace it")
