"""Recognise whether the content of an open file is the same after its change time moved.

Extended attributes, a restored access time and backup programs move only the change time (ctime). So do programs that
overwrite a file in place and restore its modification time. Therefore everything that was read is read again and
compared, and so is a digest of bytes that distinguish the file from others.

Threads: safe to call from any thread.
"""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import xxhash

from cryofs.errors import CryofsError
from cryofs.storage.file_state import state_of

if TYPE_CHECKING:
    from cryofs.storage.byte_source import LocalFile


class FollowedContent:
    """What is known of the content of an open file.

    Parameters
    ----------
    source : LocalFile
        The file, by an object whose reads are not recorded.
    expected : str
        Digest of the content.
    digest : callable
        Returns the digest, read again at each call.
    on_change : callable
        Called when the change time has moved and the content is the same.
    """

    def __init__(
        self, source: "LocalFile", expected: str, digest: "Callable[[LocalFile], str]", on_change: Callable[[], None]
    ):
        self._source = source
        self._state = source.identity
        self._expected = expected
        self._digest = digest
        self._on_change = on_change
        self._lock = threading.Lock()
        # by offset and size; single operations on a dictionary need no lock
        self._sums: dict[tuple[int, int], bytes] = {}
        self._is_different = False

    def record(self, offset: int, data: bytes | memoryview) -> None:
        """Record what was read."""
        found = xxhash.xxh3_128_digest(data)
        if self._sums.setdefault((offset, len(data)), found) != found:
            self._is_different = True

    def is_same(self, now: os.stat_result) -> bool:
        """Return True if a file with these attributes still has the content; raise OSError if it cannot be read."""
        state = state_of(now)
        if state != self._state and not self._is_different:
            with self._lock:
                if state != self._state:
                    self._look_again(state._replace(ctime_ns=self._state.ctime_ns) == self._state)
                    # a change during the check has yet another time
                    self._state = state
        return not self._is_different

    def _look_again(self, only_ctime_moved: bool) -> None:
        if only_ctime_moved and self._has_expected_digest() and self._has_expected_sums():
            self._on_change()
        else:
            self._is_different = True

    def _has_expected_digest(self) -> bool:
        try:
            return self._digest(self._source) == self._expected
        except CryofsError:
            return False

    def _has_expected_sums(self) -> bool:
        places = list(self._sums.items())
        return all(xxhash.xxh3_128_digest(self._source.read(size, offset)) == found for (offset, size), found in places)
