"""Policy for the kernel's page cache, which may hold the pages of only one state of a file at a time.

The kernel has one set of pages per name, regardless of the file. If a file is replaced while a reader has the old file
open, readers of the new file therefore bypass these pages, and no reader gets bytes of both files.

The kernel also has one size per name, and relies on it for a second. If the file that is opened meanwhile is larger,
the kernel does not read beyond the old size; if it is smaller, the kernel returns zeros. A file that does not have the
reported size therefore also bypasses the pages, because the kernel then ignores the size.

The kernel drops pages when it receives the reply to an open. Replies may arrive out of order, so pages count as dropped
only after the first read request for the opened file.

Threads: not thread-safe; the file system holds its lock during each call.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from enum import Enum

# Number of names to remember; pages of all other names are dropped at opening.
_KNOWN_NAMES = 1 << 16


class Pages(Enum):
    """Instruction to the kernel about its cached pages of a file that is being opened."""

    KEEP = "the pages belong to the opened state"
    DROP = "the pages may belong to another state"
    BYPASS = "the pages or the size belong to another state; keep them, and do not cache this state"


class PageKeeper:
    """Table of the open states of each name, and of the state that the kernel caches."""

    def __init__(self) -> None:
        self._open: dict[str, Counter[Hashable]] = {}
        # flag: the kernel has dropped all pages of other states
        self._kept: OrderedDict[str, tuple[Hashable, bool]] = OrderedDict()
        self._sizes: OrderedDict[str, int | None] = OrderedDict()

    def record_lookup(self, name: str, size: int | None) -> None:
        """Record the size reported to the kernel for `name`, or None for a placeholder."""
        self._sizes[name] = size
        self._sizes.move_to_end(name)
        if len(self._sizes) > _KNOWN_NAMES:
            self._sizes.popitem(last=False)

    def forget(self, name: str) -> None:
        """Forget the pages and the size of a name that belongs to another file now."""
        self._kept.pop(name, None)
        self._sizes.pop(name, None)

    def lacks_size(self, name: str) -> bool:
        """Return True if a placeholder was reported as the size of `name`."""
        return self._sizes.get(name, 0) is None

    def ended(self, name: str, end: int) -> None:
        """Record a short read; the kernel then reduces the size of the file to `end`."""
        size = self._sizes.get(name)
        if size is not None and size > end:
            self._sizes[name] = end

    def opened(self, name: str, state: Hashable, size: int) -> Pages:
        """Record that `name` was opened in a state with this size; return the instruction about its pages."""
        states = self._open.setdefault(name, Counter())
        states[state] += 1
        if len(states) > 1 or self._sizes.get(name, size) != size:
            return Pages.BYPASS
        same = self._kept.pop(name, None) == (state, True)
        self._kept[name] = state, same
        if len(self._kept) > _KNOWN_NAMES:
            self._kept.popitem(last=False)
        return Pages.KEEP if same else Pages.DROP

    def record_read(self, name: str, state: Hashable) -> None:
        """Record a read request, which confirms that the kernel has dropped the pages of other states."""
        if self._kept.get(name) == (state, False):
            self._kept[name] = state, True

    def closed(self, name: str, state: Hashable) -> None:
        """Record that a reader closed `name` in a state."""
        states = self._open[name]
        states[state] -= 1
        if not states[state]:
            del states[state]
        if not states:
            del self._open[name]
