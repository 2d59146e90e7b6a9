"""End the steps that a killed command left in the journals of an archive, and restore hidden files.

A file that does not count is removed only if the file that counts is there exactly as the journal describes it, and so
is the file itself. A line that does not match removes nothing: it is reported and taken out of the journal, and then
the rule for two files without a line applies (`cryofs.movies.twins`). Hidden files are restored, never removed.
Recovery can be killed and run again at any moment.

The caller holds the lock of the archive, and no other holder lives.
"""

import os
from collections.abc import Callable
from pathlib import Path

from cryofs.errors import ChangedError
from cryofs.formats.archive_names import archived_name
from cryofs.storage import atomic_file
from cryofs.storage.atomic_file import DRAFT_PREFIX, regular_file, sync_folder
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.storage.file_lock import is_lock_of, remove_left
from cryofs.storage.folders import folders_of
from cryofs.storage.hidden_files import HIDDEN_PREFIX, name_of_hidden, put_back, restore, restore_beside
from cryofs.storage.journal import JOURNAL_NAME, Line, read_journal, remove_bad_lines, replace_line
from cryofs.storage.leases import LeaseUsers
from cryofs.storage.steps import Ended, end_step, kept_line
from cryofs.system.mount_table import may_be_remote

Report = Callable[[str], object]


def recover(archive: Path, report: Report) -> None:
    """Recover all folders of an archive.

    Parameters
    ----------
    report : callable
        Called with a message for each line that does not match, and each file that was restored.

    Raises
    ------
    CryofsError, OSError
        A folder cannot be recovered; what was not done is done by the next run.
    """
    for folder, names in folders_of(archive):
        if any(_is_left(name) for name in names):
            recover_folder(folder, report)


def recover_folder(folder: Path, report: Report) -> None:
    """Recover a folder, and remove its stale drafts and locks; errors and `report` are those of `recover`."""
    # first, because a change of the journal needs room, which a draft may have taken
    atomic_file.remove_stale_drafts(folder)
    journal = read_journal(folder)
    for number, _ in journal.bad:
        report(f"{folder / JOURNAL_NAME}, line {number}: invalid and removed; run cryofs verify {folder}")
    if journal.bad:
        remove_bad_lines(folder)
    for line in journal.lines:
        if text := _recover_line(folder, line):
            report(text)
    named = {line.hidden for line in read_journal(folder).lines}
    for name in sorted(os.listdir(folder)):
        if name.startswith(HIDDEN_PREFIX) and name not in named:
            report(_restore_orphan(folder / name))
        elif is_lock_of(name, JOURNAL_NAME, LIST_NAME):
            remove_left(folder / name)


def _is_left(name: str) -> bool:
    is_lock = is_lock_of(name, JOURNAL_NAME, LIST_NAME)
    return name == JOURNAL_NAME or name.startswith((HIDDEN_PREFIX, DRAFT_PREFIX)) or is_lock


def _recover_line(folder: Path, line: Line) -> str | None:
    """End the step of a line, or find that it never began; return a message for the user, or None."""
    counts, other = regular_file(folder / line.counts.name), regular_file(folder / line.other.name)
    hidden = regular_file(folder / line.hidden) if line.hidden is not None else None
    plain = folder / line.other.name
    if line.counts.matches(counts):
        sync_folder(folder)
        if hidden is not None:
            if line.other.matches(hidden):
                if line.step != "kept":
                    replace_line(folder, line, kept_line(line))
                return None
            return f"{plain}: changed after it was archived; restored as {put_back(folder, line).name}"
        if line.other.matches(other):
            return _end(folder, line)
        if other is None or line.step == "kept":
            replace_line(folder, line, None)
            return None
    elif hidden is not None and line.hidden is not None:
        place = folder / line.hidden
        restored = restore(place, plain) if counts is None else restore_beside(place, plain)
        replace_line(folder, line, None)
        return f"{plain}: archived movie missing or changed; restored the original as {restored.name}"
    elif counts is None and line.other.matches(other):
        # the step never began
        replace_line(folder, line, None)
        return None
    replace_line(folder, line, None)
    return (
        f"{folder / line.counts.name}: an interrupted step ({line.step}) does not match the files, so nothing was "
        f"removed; run cryofs verify {folder}"
    )


def _end(folder: Path, line: Line) -> str | None:
    """Remove the file that does not count; leave it, and the line, while another program has it open."""
    plain = folder / line.other.name
    try:
        with LeaseUsers(plain, covers=not may_be_remote(folder)) as users:
            ended = end_step(folder, line, users)
    except ChangedError as error:
        return f"{error}; {line.counts.name} counts until then"
    return f"{plain}: in use; restored in place of {line.counts.name}" if ended is Ended.PUT_BACK else None


def _restore_orphan(hidden: Path) -> str:
    """Restore a hidden file that no line names, and return the message about it."""
    name = name_of_hidden(hidden.name)
    if name is None:
        return f"{hidden}: hidden file of unknown name; rename it"
    plain = hidden.with_name(name)
    has_archived = os.path.lexists(plain.with_name(archived_name(name)))
    restored = restore_beside(hidden, plain) if has_archived else restore(hidden, plain)
    return f"{plain}: hidden file without a journal; restored as {restored.name}"
