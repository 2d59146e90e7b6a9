"""Whose pages the kernel keeps: for each path those of one state of the file behind it, never of two.

The kernel knows a file by its path, and shares its pages among all who have it open. Where the archive's file was
replaced meanwhile, programs that still have the old one open would fill the pages that others take for the new one.
So a state of a file is opened past the kernel's pages while another state is open through them.

Threads: any thread may call anything; the lock guards the tables.
"""

import threading
from collections import OrderedDict

State = tuple[object, ...]

# Paths whose pages may be kept between opens; of others the kernel forgets them when they are opened.
_KNOWN_PATHS = 1 << 16


class KernelPages:
    """Decides at each open how the kernel treats the pages of a file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # the state that pages are of, of paths that are open through them, and of those that were
        self._open: dict[str, tuple[State, set[int]]] = {}
        self._closed: OrderedDict[str, State] = OrderedDict()
        self._paths: dict[int, str] = {}

    def opened(self, handle: int, path: str, state: State) -> tuple[bool, bool]:
        """A file was opened: whether to read past the kernel's pages, and else whether those there serve it."""
        with self._lock:
            theirs, handles = self._open.setdefault(path, (state, set()))
            if theirs != state:
                return True, False
            keep = bool(handles) or self._closed.pop(path, None) == state
            handles.add(handle)
            self._paths[handle] = path
            return False, keep

    def released(self, handle: int) -> None:
        """A file was closed."""
        with self._lock:
            path = self._paths.pop(handle, None)
            if path is None:
                return
            state, handles = self._open[path]
            handles.remove(handle)
            if not handles:
                del self._open[path]
                self._closed[path] = state
                if len(self._closed) > _KNOWN_PATHS:
                    self._closed.popitem(last=False)
