"""Problems of EER files that are found while their movies are rendered.

Thread safety: several open movies of one file may share a `Findings`; a lock guards its tables.
"""

import logging
import threading

from cryofs.formats.eer import EventCode

log = logging.getLogger("cryofs")


class Findings:
    """Problems of one EER file, found while it is rendered; each is logged once.

    Parameters
    ----------
    name : str
        Name of the file for messages.

    Attributes
    ----------
    code : EventCode or None
        Bit layout of events by the overflow rule of the file; None until it is determined.
    """

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._damaged: set[int] = set()
        self._saturated: dict[tuple[object, ...], int] = {}
        # set without the lock, because all threads find the same value
        self.code: EventCode | None = None

    @property
    def damaged_frames(self) -> list[int]:
        """Numbers of the damaged frames that fractions skip."""
        with self._lock:
            return sorted(self._damaged)

    @property
    def saturated_values(self) -> int:
        """Number of values that exceeded the range of the pixel type and were clipped."""
        with self._lock:
            return sum(self._saturated.values())

    def add_damaged(self, frames: list[int]) -> None:
        """Add skipped frames to the damaged ones, and log those that are new."""
        with self._lock:
            new = sorted(set(frames) - self._damaged)
            self._damaged.update(new)
        if new:
            numbers = ", ".join(map(str, new))
            log.warning("%s, frame %s: damaged and skipped in its fraction; copy the file again", self._name, numbers)

    def add_saturated(self, fraction: tuple[object, ...], dtype: str, count: int) -> None:
        """Add the number of values of a fraction that exceeded the pixel type, and log it once for each fraction."""
        with self._lock:
            new = fraction not in self._saturated
            self._saturated[fraction] = count
        if new:
            text = "%s: clipped %d values to the range of %s; choose a wider type with --eer-dtype"
            log.warning(text, self._name, count, dtype)
