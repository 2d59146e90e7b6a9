"""Folders that were listed without reading all records: their records are read in batches.

A program that asks for the attributes of one name after the other, in the order of the listing, gets those of a batch
for the time of a few reads, because several threads read at the same time.

Threads: safe to call from any thread; the lock guards the table of folders.
"""

import threading
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

# Files whose metadata are read at the same time.
_BATCH = 64
# Listed folders that are remembered, the most recent ones.
_MOST_FOLDERS = 4


@dataclass
class _Listed:
    """A listed folder: the sorted stored names, and the number of the name that a program is likely to request next."""

    names: list[str]
    next: int = 0


class RecordBatches:
    """Table of folders that were listed by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: OrderedDict[Path, _Listed] = OrderedDict()

    @property
    def is_used(self) -> bool:
        """True if a folder was listed by name."""
        return bool(self._folders)

    def add(self, folder: Path, names: list[str]) -> None:
        """Remember the sorted names of a folder that is being listed by name."""
        with self._lock:
            found = self._folders.get(folder)
            if found is not None and found.names is names:
                return
            self._folders[folder] = _Listed(names)
            if len(self._folders) > _MOST_FOLDERS:
                self._folders.popitem(last=False)

    def after(self, path: Path) -> list[str]:
        """Return the names to read together with a file, itself among them; none if requests are not in order."""
        with self._lock:
            if (found := self._folders.get(path.parent)) is None:
                return []
            names = found.names
            number = bisect_left(names, path.name)
            # names between two requests may have been known, or belong to files of other kinds
            is_in_order = found.next <= number < found.next + _BATCH
            found.next = number + (_BATCH if is_in_order else 1)
            return names[number : number + _BATCH] if is_in_order else []
