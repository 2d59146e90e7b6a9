"""Create symbolic and hard links atomically, under a draft name that is then renamed."""

from pathlib import Path

from cryofs.storage import changes
from cryofs.storage.atomic_file import draft_path, forget, naming, sync_folder


def make_link(target: Path, text: Path, *, overwrite: bool = False) -> bool:
    """Create a symbolic link; replace a link with another target, and with `overwrite` also a file.

    Returns
    -------
    bool
        True if the link was created, False if the same link already exists.
    """
    if target.is_symlink() and target.readlink() == text:
        return False
    if not overwrite and target.exists() and not target.is_symlink():
        raise FileExistsError(f"{target}: already exists and is not a symbolic link; rename or remove it")
    made = draft_path(target)
    try:
        with naming(target):
            changes.disk.link_to(text, made)
        _publish(made, target)
    finally:
        forget(made)
    return True


def link_file(first: Path, target: Path) -> None:
    """Create a hard link to a file, replacing any file with the same name.

    Raises
    ------
    OSError
        The file system does not support hard links, or the file has the maximum number of links.
    """
    made = draft_path(target)
    try:
        changes.disk.link(first, made)
        _publish(made, target)
    finally:
        forget(made)


def _publish(made: Path, target: Path) -> None:
    try:
        with naming(target):
            changes.disk.move(made, target)
    finally:
        # remains if both names were already links to the same file
        changes.disk.remove(made, missing_ok=True)
    sync_folder(target.parent)
