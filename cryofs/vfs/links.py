"""Resolution of symbolic links that point to files within the archive.

Each path component is resolved by `Root`, which does not follow links. A folder that is replaced by a link during the
resolution therefore cannot lead out of the archive.

Threads: thread-safe.
"""

import errno
import os
import stat
from pathlib import Path, PurePath

from cryofs.vfs.archive_root import Root

# Maximum number of nested links, as in the Linux kernel, which then returns ELOOP.
_MOST_LINKS = 40
_LEADS_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG}


def target_beneath(root: Root, link: Path) -> Path | None:
    """Return the place within the archive that a symbolic link points to, with all links resolved.

    An absolute target is accepted if it starts with a path of the archive's folder.

    Returns
    -------
    Path or None
        None if the target does not exist, is outside the archive, or if the links form a loop.

    Raises
    ------
    OSError
        The storage failed.
    """
    try:
        return _follow(root, link)
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return None
        raise


def _follow(root: Root, link: Path) -> Path | None:
    reached = list(link.parent.relative_to(root.path).parts)
    # remaining path components, the next one last
    ahead = [link.name]
    links = 0
    while ahead:
        name = ahead.pop()
        if name in ("", os.curdir):
            continue
        if name == os.pardir:
            if not reached:
                return None
            reached.pop()
            continue
        mode = root.lstat(root.path.joinpath(*reached, name)).st_mode
        if stat.S_ISLNK(mode):
            links += 1
            target = root.read_link(root.path.joinpath(*reached, name))
            names = _beneath(root, target) if target.startswith("/") else target.split("/")
            if names is None or links > _MOST_LINKS:
                return None
            reached = [] if target.startswith("/") else reached
            ahead.extend(reversed(names))
        elif ahead and not stat.S_ISDIR(mode):
            return None
        else:
            reached.append(name)
    return root.path.joinpath(*reached)


def _beneath(root: Root, target: str) -> list[str] | None:
    """Return the components of an absolute path below the archive's folder, or None if it is outside."""
    for folder in root.known_as:
        if PurePath(target).is_relative_to(folder):
            return [*PurePath(target).relative_to(folder).parts]
    return None
