"""Problems found in EER files during reads, by the state of the file.

Threads: thread-safe; the lock guards the table.
"""

import threading

from cryofs.movies.eer_findings import Findings
from cryofs.storage.file_state import FileState

# Number of most recently used files in the table.
_KNOWN_FINDINGS = 1 << 16


class FindingsTable:
    """Table of the problems of the most recently used files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table: dict[str, tuple[FileState, Findings]] = {}

    def of(self, identity: FileState, name: str) -> Findings:
        """Return the problems of a file in one state; each state of a file has its own object."""
        with self._lock:
            known = self._table.pop(name, None)
            if known is None or known[0] != identity:
                known = identity, Findings(name)
            self._table[name] = known
            if len(self._table) > _KNOWN_FINDINGS:
                del self._table[next(iter(self._table))]
        return known[1]

    def every(self) -> list[Findings]:
        """Return the problems of all files in the table."""
        with self._lock:
            return [found for _, found in self._table.values()]
