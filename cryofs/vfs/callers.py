"""The users of programs that create files in a writable mount."""

import errno
import logging
import os
import stat
from typing import NamedTuple

from cryofs.storage import changes

log = logging.getLogger("cryofs")


class Caller(NamedTuple):
    """The user and group of the program that made a request."""

    uid: int
    gid: int


def check_caller(caller: Caller) -> None:
    """Raise OSError (EPERM) for a user to whom this process may not give files."""
    user = os.geteuid()
    if user not in (0, caller.uid):
        log.warning("user %d may not create files here; only a mount by root can give them to another user", caller.uid)
        raise OSError(errno.EPERM, "only the user who mounted the archive may create files")


def give(folder: int, name: str, caller: Caller) -> None:
    """Give a new file, folder or link to the caller; in a set-group-ID folder the group is that of the folder."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    is_set = bool(os.fstat(folder).st_mode & stat.S_ISGID)
    uid = -1 if found.st_uid == caller.uid else caller.uid
    gid = -1 if is_set or found.st_gid == caller.gid else caller.gid
    if (uid, gid) != (-1, -1):
        changes.disk.set_owner_in(folder, name, uid, gid)
