"""Leave out what the file system of an archive cannot do, with one notice per run that names the consequence.

SMB cannot sync folders; SMB, exFAT and FAT have no permissions. Every other error, such as EIO or ENOSPC, is raised.
"""

import errno
import os
from pathlib import Path

from cryofs.system.notices import is_known, notice

_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)

# What storage may lack, with the consequence.
FOLDER_SYNC = (
    "cannot sync folders, so after a power cut the newest files may lack their names; "
    "then run the same command again with --only-do-unfinished"
)
MODES = "does not keep permissions, so copied files and folders have those of the storage; records of movies keep them"
TIMES = "does not let this user set times, so copied files are dated now, and --only-do-unfinished copies them again"


def is_unsupported(error: OSError) -> bool:
    """Return True if an error means that the storage does not have an operation."""
    return error.errno in _UNSUPPORTED


def leave_out(what: str, error: OSError, file: Path | int) -> None:
    """Report that the storage of a file lacks something, or raise the error again if it has another reason.

    Parameters
    ----------
    what : str
        One of the constants of this module.
    file : Path or int
        A file or folder, or the descriptor of a file that this run created.
    """
    if not is_unsupported(error) or not (is_known(what) or _is_allowed(error, file)):
        raise error
    place = Path(os.readlink(f"/proc/self/fd/{file}")) if isinstance(file, int) else file  # noqa: PTH115
    folder = place if place.is_dir() and not place.name.startswith(".cryofs-") else place.parent
    notice(what, f"{folder}: storage {what} ({error.strerror})")


def _is_allowed(error: OSError, file: Path | int) -> bool:
    """Return False if EPERM means that the file belongs to another user."""
    if error.errno != errno.EPERM or isinstance(file, int) or os.geteuid() == 0:
        return True
    return file.lstat().st_uid == os.geteuid()
