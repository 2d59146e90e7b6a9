"""Plain files of a writable mount whose pages in the kernel are valid, because every change came through the kernel.

Threads: safe to call from any thread.
"""

import os
import threading
from collections import OrderedDict

from cryofs.storage.file_state import FileState, state_of
from cryofs.vfs.live_files import LiveFile
from cryofs.vfs.open_files import PlainFile
from cryofs.vfs.page_cache_policy import Pages

_MOST_FILES = 1 << 16


class KnownPages:
    """The states that plain files had when they were closed, by their inodes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: OrderedDict[int, FileState] = OrderedDict()

    def of(self, live: LiveFile) -> Pages:
        """Return KEEP for a file that is being opened if all changes since the kernel got its pages came through it."""
        if live.is_shared or not isinstance(file := live.file, PlainFile):
            return Pages.KEEP
        state = state_of(os.fstat(file.descriptor))
        with self._lock:
            return Pages.KEEP if self._states.get(state.inode) == state else Pages.DROP

    def closed(self, live: LiveFile) -> None:
        """Note the state of a file of which a handle is about to be closed."""
        if not isinstance(file := live.file, PlainFile):
            return
        state = state_of(os.fstat(file.descriptor))
        with self._lock:
            self._states.pop(state.inode, None)
            self._states[state.inode] = state
            if len(self._states) > _MOST_FILES:
                self._states.popitem(last=False)
