"""Copy files into an archive; a copy is complete when its checksum is durable."""

from collections.abc import Callable
from pathlib import Path

from cryofs.archive.inventory import has_line
from cryofs.compress.existing import is_copy
from cryofs.storage import file_copy, file_links
from cryofs.storage.checksum_lists import ChecksumLists


class Copies:
    """Context manager that copies files into the archive at `root`.

    Parameters
    ----------
    on_copied : callable
        Called with the source of each copy when the checksum of the copy is durable.
    on_error : callable
        Called with the source and the error of each copy whose checksum could not be recorded.
    """

    def __init__(
        self, root: Path, on_copied: Callable[[Path], object], on_error: Callable[[Path, Exception], object]
    ) -> None:
        self._root = root
        self._on_copied = on_copied
        self._on_error = on_error
        self._lists = ChecksumLists(self._recorded, self._not_recorded)
        # by path, copies whose checksum is not durable yet: source, whether this run made the copy, checksum
        self._waiting: dict[Path, tuple[Path, bool, str]] = {}

    def __enter__(self) -> "Copies":
        return self

    def __exit__(self, *_: object) -> None:
        self._lists.flush()

    def is_done(self, source: Path, target: Path) -> bool:
        """Return True if the archive has a copy with the size and time of a source, and a checksum of this copy.

        A killed run may leave a copy without a checksum. Such a copy is compared with the source, and its checksum is
        recorded if both are equal.
        """
        if not is_copy(source, target):
            return False
        if not has_line(self._root, target) or self._lists.recorded(target) is not None:
            return True
        same = file_copy.compare_copy(source, target)
        if same is None:
            return False
        self._record(source, target, same, is_new=False)
        return True

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file and record the checksum of the copy, which becomes durable later."""
        copied = file_copy.copy_file(source, target, self._lists.replacing)
        if not has_line(self._root, target) or self._lists.recorded(target) == copied.sha256:
            self._on_copied(source)
        else:
            self._record(source, target, copied, is_new=True)

    def link(self, source: Path, first: Path, target: Path) -> bool:
        """Create a hard link to an existing copy, `first`, and record the checksum under the new name.

        Returns
        -------
        bool
            False if the link cannot be created, or the checksum of the copy is unknown.
        """
        sha256 = self._waiting[first][2] if first in self._waiting else self._lists.recorded(first)
        if sha256 is None or not has_line(self._root, target):
            return False
        try:
            with self._lists.replacing(target, sha256):
                file_links.link_file(first, target)
        except OSError:
            return False
        self._record(source, target, file_copy.Copied(sha256, target.lstat()), is_new=True)
        return True

    def _record(self, source: Path, target: Path, copied: file_copy.Copied, *, is_new: bool) -> None:
        self._waiting[target] = source, is_new, copied.sha256
        self._lists.add(target, copied.sha256, copied.found)

    def _recorded(self, target: Path) -> None:
        source, is_new, _ = self._waiting.pop(target)
        if is_new:
            self._on_copied(source)

    def _not_recorded(self, target: Path, error: Exception) -> None:
        self._on_error(self._waiting.pop(target)[0], error)
