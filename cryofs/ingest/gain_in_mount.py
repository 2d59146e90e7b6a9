"""Gain references for the movies of a writable mount: child processes make them, waiting movies are woken.

Threads: as `cryofs.ingest.gain_wait`.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from cryofs.config.choices import GAIN_WORDS
from cryofs.errors import CryofsError
from cryofs.gain.references import References
from cryofs.ingest.children import Children
from cryofs.ingest.gain_wait import GainWait
from cryofs.ingest.waiting import WaitingMovies, Why
from cryofs.vfs.archive_root import Root

_REASON = "no gain reference of the archive fits"

log = logging.getLogger("cryofs")


class GainInMount(GainWait):
    """The movies of a mount that wait for a gain reference.

    Parameters
    ----------
    gain : str
        The setting; a file is added to the archive.
    shown : callable
        Returns a message without paths through a descriptor.
    check : callable
        Called often while references are made; ends that by an exception.
    """

    def __init__(
        self,
        root: Root,
        gain: str,
        waiting: WaitingMovies,
        children: Children,
        shown: Callable[[str], str],
        check: Callable[[], None],
    ):
        super().__init__(
            root.path,
            lambda request, patience: children.make_references(request, patience, check),
            lambda text: log.info("%s", shown(text)),
        )
        self._root = root
        self._table = waiting
        if gain not in GAIN_WORDS:
            try:
                references = References(root.path)
                references.import_file(Path(gain))
                references.record_checksums()
            except (CryofsError, OSError) as error:
                log.warning("%s: not added to the archive (%s)", gain, shown(str(error)))

    def wait(self, place: Path) -> None:
        """Let a movie of the table wait that was taken, and that no reference fits; `add` notes it if it is new."""
        if self._table.wait_on(place, Why.GAIN, None, _REASON):
            log.info("%s: waits (%s)", self._root.name_of(place), _REASON)

    def make_references(self) -> None:
        """Make the references that are due, and wake the movies that one fits now."""
        released = self.update()
        self._table.wake(Why.GAIN, released)
        # the others wake the thread when the next reference is due
        if (seconds := self.seconds_left()) is not None:
            self._table.wake(Why.GAIN, [place for place in self if place not in released], seconds)
