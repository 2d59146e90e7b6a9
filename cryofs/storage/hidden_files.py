"""Hide files that an archived movie has replaced, where a program may still have them open for writing.

A hidden file keeps its inode, so nothing that is written into it is lost. Its name holds the name to restore.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryofs.storage import changes
from cryofs.storage.atomic_file import OWN_PREFIX, regular_file, sync_folder
from cryofs.storage.journal import Line, replace_line
from cryofs.system.paths import LONGEST_NAME

HIDDEN_PREFIX = OWN_PREFIX + "kept-"
_DIGITS = 8


def hidden_name(name: str) -> str:
    """Return a new name under which a file of this name is hidden, shortened to the longest possible name."""
    made = os.fsencode(f"{HIDDEN_PREFIX}{secrets.token_hex(_DIGITS // 2)}-{name}")
    return os.fsdecode(made[:LONGEST_NAME])


def name_of_hidden(hidden: str) -> str | None:
    """Return the name to restore for a hidden file, or None if the hidden name does not hold it."""
    rest = hidden.removeprefix(HIDDEN_PREFIX)
    digits, _, name = rest.partition("-")
    is_whole = len(os.fsencode(hidden)) < LONGEST_NAME
    return name if rest != hidden and len(digits) == _DIGITS and name and is_whole else None


def put_back(folder: Path, line: Line) -> Path:
    """Give a hidden file its name again, because it was opened or changed after it was hidden; return its path.

    The file that replaced it is an older state of the same file, and is removed first. If the hidden file is not the
    one of the line, or its name has been taken, it gets a new name beside, and nothing is removed.
    """
    hidden, plain, counts = folder / (line.hidden or ""), folder / line.other.name, folder / line.counts.name
    found = hidden.lstat()
    is_same_file = found.st_ino == line.other.inode
    if is_same_file and not os.path.lexists(plain) and line.counts.matches(regular_file(counts)):
        changes.disk.remove(counts)
        sync_folder(folder)
    is_free = not os.path.lexists(plain) and not os.path.lexists(counts)
    restored = restore(hidden, plain) if is_free else restore_beside(hidden, plain)
    replace_line(folder, line, None)
    return restored


def restore(hidden: Path, plain: Path) -> Path:
    """Give a hidden file its name again, or a new name beside if the name has been taken; return its path."""
    try:
        changes.disk.move_new(hidden, plain)
    except FileExistsError:
        return restore_beside(hidden, plain)
    sync_folder(plain.parent)
    return plain


def restore_beside(hidden: Path, plain: Path) -> Path:
    """Give a hidden file a new name beside its own, `X.changed-1a2b3c.mrc`; return its path."""
    target = _first_free(plain, lambda digits: f"{plain.stem}.changed-{digits}{plain.suffix}")
    changes.disk.move_new(hidden, target)
    sync_folder(plain.parent)
    return target


def _first_free(plain: Path, name: Callable[[str], str]) -> Path:
    while True:
        made = os.fsencode(name(secrets.token_hex(3)))
        if len(made) > LONGEST_NAME:
            suffix = os.fsencode(plain.suffix)
            made = made[: LONGEST_NAME - len(suffix)] + suffix
        target = plain.with_name(os.fsdecode(made))
        if not os.path.lexists(target):
            return target
