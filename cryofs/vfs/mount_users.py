"""The users of a file, as a writable mount knows them: `cryofs.storage.steps.Users` for steps inside a mount."""

from collections.abc import Callable
from pathlib import Path

from cryofs.errors import ChangedError
from cryofs.storage.file_state import FileState, state_of
from cryofs.storage.steps import Use
from cryofs.vfs.live_files import LiveFiles
from cryofs.vfs.open_files import OpenFile


class MountUsers:
    """Users of the file of a name, which the caller has locked.

    Parameters
    ----------
    state : FileState or None
        State in which the file was read; None if it never changes.
    open_it : callable
        Opens the file that has the name now.
    """

    # only the mount may change the archive
    knows_all = True

    def __init__(self, live: LiveFiles, place: Path, state: FileState | None, open_it: Callable[[], OpenFile]):
        self._live = live
        self._place = place
        self._state = state
        self._open_it = open_it

    def check(self) -> None:
        """Raise ChangedError if the file changed, was replaced, or a program has it open for writing."""
        if self._live.has_writer(self._place):
            raise ChangedError(f"{self._place.name}: open for writing; retry once it is closed")
        if self._state is not None and state_of(self._place.lstat()) != self._state:
            raise ChangedError(f"{self._place.name}: changed or replaced since it was read; retry later")

    def switch(self) -> None:
        """Let open handles read from the file that has the name now."""
        if live := self._live.find(self._place):
            live.switch(self._open_it())

    def use(self) -> Use:
        """Return that no program has the file open, because open handles read from the other one."""
        return Use.FREE
