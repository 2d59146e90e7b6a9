"""Problems of EER files that are found while their movies are rendered.

Threads: `Findings` may be shared by several openings of one file; the lock guards its tables.
"""

import logging
import threading

from cryofs.formats.eer import EventCode

log = logging.getLogger("cryofs")


class Findings:
    """Problems of an EER file that were found while it was rendered; each is logged once.

    Parameters
    ----------
    name : str
        Name of the file in messages.

    Attributes
    ----------
    code : EventCode or None
        Bit layout of events by the overflow rule of the file, once it was found.
    """

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._damaged: set[int] = set()
        self._saturated: dict[tuple[object, ...], int] = {}
        # set once; two threads that find it at the same time find the same
        self.code: EventCode | None = None

    @property
    def damaged_frames(self) -> list[int]:
        """Numbers of the damaged frames that fractions skip."""
        with self._lock:
            return sorted(self._damaged)

    @property
    def saturated_values(self) -> int:
        """Number of values that overflowed and were clipped to the maximum of their type."""
        with self._lock:
            return sum(self._saturated.values())

    def add_damaged(self, frames: list[int]) -> None:
        """Record skipped frames."""
        with self._lock:
            new = sorted(set(frames) - self._damaged)
            self._damaged.update(new)
        if new:
            numbers = ", ".join(map(str, new))
            log.warning("%s, frame %s: damaged, skipped in the fraction; copy the file again", self._name, numbers)

    def add_saturated(self, fraction: tuple[object, ...], dtype: str, count: int) -> None:
        """Record values of a fraction that exceeded the type."""
        with self._lock:
            new = fraction not in self._saturated
            self._saturated[fraction] = count
        if new:
            log.warning("%s: %d values exceed %s and were clipped; choose a wider type", self._name, count, dtype)
