"""Complete the step of a name that an error left in the journal of a writable mount.

A recovery (`cryofs.archive.recovery`) does the same for a killed command. A mount that keeps running must not wait for
it: as soon as a program writes into the file that counts, the line of the journal no longer describes that file.
"""

from pathlib import Path

from cryofs.formats.archive_names import archived_path, has_archived_form
from cryofs.storage.atomic_file import regular_file, sync_folder
from cryofs.storage.hidden_files import put_back
from cryofs.storage.journal import Line, read_journal, replace_line
from cryofs.storage.steps import Users, end_step


def end_left_step(place: Path, users: Users) -> None:
    """Keep one file of a name, and remove its line from the journal; the caller has locked the name.

    Parameters
    ----------
    place : Path
        The name that readers see.

    Raises
    ------
    ArchiveError, OSError
        A call failed; the journal still says which file counts.
    """
    if has_archived_form(place.name):
        for line in read_journal(place.parent).about(place.name, archived_path(place).name):
            _end(place.parent, line, users)


def _end(folder: Path, line: Line, users: Users) -> None:
    counts, other = (regular_file(folder / mark.name) for mark in (line.counts, line.other))
    hidden = None if line.hidden is None else regular_file(folder / line.hidden)
    if hidden is not None:
        # another program may still write into it, so its name is restored before the name changes
        put_back(folder, line)
        users.switch()
    elif line.counts.matches(counts) and line.other.matches(other):
        sync_folder(folder)
        users.switch()
        end_step(folder, line, users)
    elif counts is None or other is None:
        # the step never began, or only this part of it is missing
        replace_line(folder, line, None)
