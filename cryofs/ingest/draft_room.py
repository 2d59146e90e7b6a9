"""Decide which movies have room for their drafts, while room on the disk is scarce.

Threads: one thread uses it.
"""

import math
import time
from collections import deque
from pathlib import Path

from cryofs.vfs.room import Room

# Size of an archived movie as a fraction of its original, before any is known, and at most.
_FIRST_RATIO = 0.5
_LARGEST_RATIO = 0.95
# The next movies may be a little larger than the largest of the last ones.
_ALLOWANCE = 1.1
_KNOWN_RATIOS = 8
# If no draft should fit for so long, one is tried, because its movie may be smaller than the last ones.
_SECONDS_UNTIL_TRY = 60.0


class DraftRoom:
    """Room for drafts, those under way included."""

    def __init__(self, room: Room):
        self._room = room
        self._under_way: dict[Path, int] = {}
        self._ratios: deque[float] = deque(maxlen=_KNOWN_RATIOS)
        self._last_begun = time.monotonic()

    @property
    def is_scarce(self) -> bool:
        """True if writers are slowed or refused for lack of room."""
        return self._room.left().is_scarce

    def largest(self) -> float:
        """Return the size of the largest movie whose draft fits now."""
        left = self._room.left()
        is_idle = not self._under_way and time.monotonic() - self._last_begun > _SECONDS_UNTIL_TRY
        if not left.is_scarce or is_idle:
            return math.inf
        return left.free / self._ratio() - sum(self._under_way.values())

    def begin(self, place: Path, size: int) -> None:
        """Note that a draft of a movie is begun."""
        self._under_way[place] = size
        self._last_begun = time.monotonic()

    def end(self, place: Path, stored: int | None = None) -> None:
        """Note that a draft ended, with its size if that is known, so that writers that wait may go on."""
        size = self._under_way.pop(place, 0)
        if size and stored is not None:
            self._ratios.append(min(stored / size, _LARGEST_RATIO))
        self._room.freed()

    def did_not_fit(self, place: Path) -> None:
        """Note that the disk was full before a draft was complete."""
        self.end(place, self._under_way.get(place))

    def _ratio(self) -> float:
        return min(_ALLOWANCE * max(self._ratios, default=_FIRST_RATIO / _ALLOWANCE), _LARGEST_RATIO)
