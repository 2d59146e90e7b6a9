"""Policy for the pages of a file in the kernel: at any time it caches those of one state of the file.

The kernel has one set of pages for a name, independent of the file behind it. So if a file was replaced while a reader
has the old one open, readers of the new one bypass these pages, and no reader gets bytes of both.

The kernel also has one size for a name, which it trusts for a second. It does not read beyond that size if the file
opened during that second is larger, and reads zeros if it is smaller. So a file whose size differs from the reported
one bypasses the pages too, because sizes have no effect then.

The kernel drops pages when it gets the reply to an open. Replies may overtake one another, so pages count as dropped
only after the first request for the file that was opened.

Threads: not locked; the file system calls it under its lock.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from enum import Enum

# Names whose state in the kernel is remembered; pages of other names are dropped.
_KNOWN_NAMES = 1 << 16


class Pages(Enum):
    """Instruction to the kernel for its cached pages of a file that is being opened."""

    KEEP = "the pages belong to the opened state"
    DROP = "the pages may belong to another state"
    BYPASS = "the pages or the size in the kernel belong to another state; keep them, and cache nothing of this state"


class PageKeeper:
    """The open file states of each name, and the state whose pages the kernel caches."""

    def __init__(self) -> None:
        self._open: dict[str, Counter[Hashable]] = {}
        # flag: the kernel has dropped all pages of other states
        self._kept: OrderedDict[str, tuple[Hashable, bool]] = OrderedDict()
        self._sizes: OrderedDict[str, int | None] = OrderedDict()

    def record_lookup(self, name: str, size: int | None) -> None:
        """Record the size that was reported for `name`, None for a placeholder."""
        self._sizes[name] = size
        self._sizes.move_to_end(name)
        if len(self._sizes) > _KNOWN_NAMES:
            self._sizes.popitem(last=False)

    def lacks_size(self, name: str) -> bool:
        """Return True if the size of `name` that the kernel has is a placeholder."""
        return self._sizes.get(name, 0) is None

    def ended(self, name: str, end: int) -> None:
        """Record a short read, after which the kernel reduces the size of the file to `end`."""
        size = self._sizes.get(name)
        if size is not None and size > end:
            self._sizes[name] = end

    def opened(self, name: str, state: Hashable, size: int) -> Pages:
        """Record that a state of the file `name` was opened; return the instruction for its pages."""
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
        """Record a request for a file that was opened with `DROP`."""
        if self._kept.get(name) == (state, False):
            self._kept[name] = state, True

    def closed(self, name: str, state: Hashable) -> None:
        """Record that a state of the file `name` was closed."""
        states = self._open[name]
        states[state] -= 1
        if not states[state]:
            del states[state]
        if not states:
            del self._open[name]
