"""Replace a plain file by its archived movie, or an archived movie by its original, so that a kill loses neither.

The order of calls, each durable before the next: line of the journal; rename of the draft to its name; removal of the
other file; removal of the line. `cryofs.archive.recovery` ends a step that was interrupted.
"""

import contextlib
import time
from enum import Enum
from pathlib import Path
from typing import Protocol

from cryofs.errors import CryofsError
from cryofs.storage import changes
from cryofs.storage.atomic_file import naming, regular_file, sync_folder
from cryofs.storage.hidden_files import hidden_name, put_back
from cryofs.storage.journal import FileMark, Line, StepName, add_line, replace_line


class Use(Enum):
    """Whether a program has a file open that is about to be removed."""

    FREE = "no program has the file open"
    UNKNOWN = "a program may have the file open"
    IN_USE = "a program has the file open, or is opening it"


class Users(Protocol):
    """What knows the users of the file that a step removes; it keeps new writers waiting during the step."""

    @property
    def knows_all(self) -> bool:
        """True if no program can have the file open without being known here."""

    def check(self) -> None:
        """Check, as the last part before the step, that the file is as the caller has read it and has no writer.

        Raises
        ------
        ChangedError
            The file changed, was replaced or has a writer.
        """

    def switch(self) -> None:
        """Let open handles of the file read from the file that replaced it, which has its name now."""

    def use(self) -> Use:
        """Return whether a program has the file open."""


class Ended(Enum):
    """How a step ended."""

    REMOVED = "the other file was removed"
    KEPT = "the other file is hidden for some time, because a program may have it open"
    PUT_BACK = "the other file has its name again, because a program has opened or changed it"


def replace_twin(step: StepName, draft: Path, target: Path, other: Path, users: Users) -> Ended:
    """Give a complete, synced draft its name, and remove the file of the other form, in one folder.

    Parameters
    ----------
    draft : Path
        File in the folder of the target; it is removed by the caller after an error.
    target : Path
        The new name, which must not exist.
    other : Path
        The file that does not count afterwards; synced.

    Raises
    ------
    ChangedError
        The other file changed or is in use; nothing was done.
    OSError
        A call failed. If the draft had its name already, the line stays in the journal until a recovery.
    """
    folder = target.parent
    found = other.lstat()
    hidden = None if users.knows_all else hidden_name(other.name)
    line = Line(step, FileMark.of(target.name, draft.lstat()), FileMark.of(other.name, found), hidden)
    try:
        add_line(folder, line)
        users.check()
        with naming(target):
            changes.disk.move_new(draft, target)
    except BaseException:
        # the first error counts; a recovery removes a line whose step never began
        with contextlib.suppress(CryofsError, OSError):
            replace_line(folder, line, None)
        raise
    sync_folder(folder)
    users.switch()
    return end_step(folder, line, users)


def end_step(folder: Path, line: Line, users: Users) -> Ended:
    """Remove the file that does not count, and the line; the file that counts is there and its name is durable."""
    other = folder / line.other.name
    if line.hidden is None:
        changes.disk.remove(other, missing_ok=True)
        return _removed(folder, line)
    hidden = folder / line.hidden
    if line.other.matches(regular_file(other)):
        changes.disk.move_new(other, hidden)
        sync_folder(folder)
    found = regular_file(hidden)
    if found is None:
        return _removed(folder, line)
    use = users.use()
    if use is Use.IN_USE or not line.other.matches(found):
        put_back(folder, line)
        return Ended.PUT_BACK
    if use is Use.FREE:
        changes.disk.remove(hidden)
        return _removed(folder, line)
    replace_line(folder, line, kept_line(line))
    return Ended.KEPT


def kept_line(line: Line) -> Line:
    """Return the line of a file that stays hidden from now on."""
    return Line("kept", line.counts, line.other, line.hidden, time.time())


def _removed(folder: Path, line: Line) -> Ended:
    sync_folder(folder)
    replace_line(folder, line, None)
    return Ended.REMOVED
