"""Inode numbers that names keep while one stored file replaces another with the same content.

Each stored file has a number of its own (`cryofs.vfs.inodes`), so a number would change when an archived movie replaces
a plain file, or the other way round. Therefore the two files exchange their numbers: the new file is shown with the
number that readers know, and whatever gets the inode of the old file later with the other one. An exchange never gives
two files one number, although file systems use the inode of a removed file again at once.

The table is in memory only, so exchanges last as long as the mount.

Threads: safe to call from any thread. Look-ups take no lock, because they read a single item of a dictionary.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

# A look-up is repeated if a file was replaced during it; it never takes as long as that many replacements.
_ATTEMPTS = 20


class KeptInodes:
    """The numbers that are shown, by the files' own numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[int, int] = {}
        self._exchanges = 0

    def shown(self, own: int) -> int:
        """Return the number that is shown for a file."""
        return self._shown.get(own, own)

    def consistent(self, look: Callable[[], T]) -> T:
        """Return what `look` returns, which finds files and then their shown numbers; repeat it after an exchange."""
        for _ in range(_ATTEMPTS):
            before = self._exchanges
            found = look()
            if self._exchanges == before:
                break
        return found

    @contextlib.contextmanager
    def replacing(self, old: int, new: int) -> Iterator[Callable[[], None]]:
        """Show both files with the number of the old one while the new one replaces it; own numbers are given.

        Yield a function to be called once the new file has its name, and before the old one is removed: it completes
        the exchange. Without that, the new file has its number back at the end.
        """
        number = self.shown(new)
        is_done = False

        def done() -> None:
            nonlocal is_done
            if not is_done:
                with self._lock:
                    # first, so that a look-up that found the old file, and shows its number only now, is repeated
                    self._exchanges += 1
                    self._show(old, number)
            is_done = True

        with self._lock:
            self._show(new, self.shown(old))
        try:
            yield done
        finally:
            if not is_done:
                with self._lock:
                    self._show(new, number)

    def _show(self, own: int, number: int) -> None:
        if own == number:
            self._shown.pop(own, None)
        else:
            self._shown[own] = number
