"""Which pages of a file the kernel may keep: those of one state of it, while another may be open under the same name.

The kernel has one set of pages for a name, whichever file is behind it. So when a file was replaced and somebody still
reads the old one, whoever opens the new one reads past these pages, and nobody gets bytes of both.

The kernel also has one size for a name, which it believes for a second. It reads no further, be the file that is
opened meanwhile larger, and takes zeros for what is missing, be it smaller. So a file of another size than the kernel
was told is read past its pages too, for which sizes do not count.

The kernel drops pages when it hears the answer to an open. Answers may overtake one another: so pages count as dropped
only once a request came by the file that was opened.

Threads: not locked; the file system calls it under its lock.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from enum import Enum

# Names of which it is known what the kernel has; of others it drops what it has.
_KNOWN_NAMES = 1 << 16


class Pages(Enum):
    """What the kernel is to do with the pages of a file that is opened."""

    KEEP = "they are of this very state"
    DROP = "they may be of another state"
    BYPASS = (
        "they, or the size that the kernel knows, are of another state: leave them alone, and keep none of this one"
    )


class PageKeeper:
    """What is open under each name, and of which state the kernel has pages."""

    def __init__(self) -> None:
        self._open: dict[str, Counter[Hashable]] = {}
        # with whether those of other states are gone for certain
        self._kept: OrderedDict[str, tuple[Hashable, bool]] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def told(self, name: str, size: int) -> None:
        """The kernel is told how large the file `name` is."""
        self._sizes[name] = size
        self._sizes.move_to_end(name)
        if len(self._sizes) > _KNOWN_NAMES:
            self._sizes.popitem(last=False)

    def ended(self, name: str, end: int) -> None:
        """The kernel gets less than it asked for: it takes a file for no larger from then on."""
        if self._sizes.get(name, end) > end:
            self._sizes[name] = end

    def opened(self, name: str, state: Hashable, size: int) -> Pages:
        """A state of the file `name` is open once more, which is so large."""
        states = self._open.setdefault(name, Counter())
        states[state] += 1
        if len(states) > 1 or self._sizes.get(name, size) != size:
            return Pages.BYPASS
        same = self._kept.pop(name, None) == (state, True)
        self._kept[name] = state, same
        if len(self._kept) > _KNOWN_NAMES:
            self._kept.popitem(last=False)
        return Pages.KEEP if same else Pages.DROP

    def heard_of(self, name: str, state: Hashable) -> None:
        """A request came by a file that was opened with `DROP`."""
        if self._kept.get(name) == (state, False):
            self._kept[name] = state, True

    def closed(self, name: str, state: Hashable) -> None:
        """It is open once less."""
        states = self._open[name]
        states[state] -= 1
        if not states[state]:
            del states[state]
        if not states:
            del self._open[name]
