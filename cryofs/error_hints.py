"""Build error messages of the form `file: reason; fix` from operating system errors."""

import errno
from pathlib import Path

_CHECK_PATH = "check the path"
_MAKE_ROOM = "free some space, then run the same command again"
_PERMIT = "ask the owner for permission, or use another path"
_REMEDIES = {
    errno.ENOENT: _CHECK_PATH,
    errno.ENOTDIR: "pass a folder instead of a file",
    errno.EEXIST: "use another path, or move the existing file away",
    errno.EISDIR: "use another path, or move the existing folder away",
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
    errno.EROFS: "use a writable path",
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.ENAMETOOLONG: "shorten the name of a movie to at most 251 bytes, because cryofs appends .tif",
    errno.EMFILE: "raise the limit of open files (ulimit -n 65536), then run the same command again",
    errno.EIO: "check the kernel log (dmesg) for a failing disk, then retry",
    errno.ENOTCONN: "remove this stale mount with cryofs umount MOUNTPOINT",
    errno.ESTALE: "mount the storage again",
}


def explain(error: OSError, place: object = None) -> str:
    """Return an operating system error as `file: reason; fix`.

    Parameters
    ----------
    place : object
        File to name in the message if the error does not name one.
    """
    name = error.filename2 or error.filename or place
    remedy = _REMEDIES.get(error.errno or 0)
    return ("" if name is None else f"{name}: ") + (error.strerror or str(error)) + (f"; {remedy}" if remedy else "")


def reason_of(error: Exception, path: Path) -> str:
    """Return the reason in the message of an error, without the file name and the fix."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]
