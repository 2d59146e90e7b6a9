"""What was written of a movie: its frames, and the figures against which the plan is checked."""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Self

from cryofs.compress.encode import FrameToStore, StoredExceptions


@dataclass(frozen=True)
class WrittenFrame:
    """A written frame: the fields for the record."""

    offsets: list[int]
    byte_counts: list[int]
    strip_sums: list[str]
    exceptions: StoredExceptions | None

    @classmethod
    def at(cls, offset: int, frame: FrameToStore) -> Self:
        """Return the fields of a frame whose strips are stored contiguously from an offset."""
        sizes = list(map(len, frame.strips))
        offsets = list(accumulate(sizes[:-1], initial=offset))
        return cls(offsets, sizes, frame.strip_sums, frame.exceptions)


@dataclass
class Written:
    """Written frames, and totals to compare with the plan."""

    frames: list[WrittenFrame] = field(default_factory=list)
    counted: int = 0
    lowest: int = 0
    highest: int = 0
    strip_bytes: int = 0
    exception_bytes: int = 0
    narrowing_bytes: int = 0
    reported: int = 0

    def count(self, frame: FrameToStore) -> None:
        """Add a frame that is about to be written to the totals."""
        self.counted += 1
        self.lowest, self.highest = min(self.lowest, frame.lowest), max(self.highest, frame.highest)
        self.strip_bytes += frame.strip_bytes
        self.exception_bytes += frame.exception_bytes
        self.narrowing_bytes += frame.narrowing_bytes
