"""A simulated disk with failing calls: a full disk, an error of the storage, a failed sync."""

import os
from typing import Any

from cryofs.storage.changes import Disk


class FailingDisk(Disk):
    """A disk of which one call fails, or all from one on.

    Parameters
    ----------
    fail_at : int
        Number of the call, from 1.
    for_good : bool
        Whether all later calls fail too.
    only : str
        The call that counts and fails; empty for any.
    spared : tuple of str
        Calls that never fail, and do not count.
    """

    def __init__(self, fail_at: int, code: int, *, for_good: bool, only: str = "", spared: tuple[str, ...] = ()):
        self.calls = 0
        self._wanted = fail_at
        self._code = code
        self._for_good = for_good
        self._only = only
        self._spared = spared

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not hasattr(Disk, name) or self._only not in ("", name) or name in self._spared:
            return found

        def call(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self._wanted or (self._for_good and self.calls > self._wanted):
                raise OSError(self._code, os.strerror(self._code))
            return found(*args, **named)

        return call
