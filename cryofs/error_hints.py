"""Errors of the system as a user needs them: the file, what happened, and what to do about it."""

import errno

_CHECK_PATH = "check the path"
_MAKE_ROOM = "make room there, then run the same command again"
_PERMIT = "have its owner permit it, or name another place"
_REMEDIES = {
    errno.ENOENT: _CHECK_PATH,
    errno.ENOTDIR: "a part of this path is a file, not a folder; name a folder",
    errno.EEXIST: "this is a file, or in the way; name another place",
    errno.EISDIR: "a folder is in the way; move it, or name another place",
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
    errno.EROFS: "name a place that may be written to",
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.ENAMETOOLONG: "shorten it; a movie's name has 251 bytes at most, as .tif is added to it",
    errno.EMFILE: "allow more open files (ulimit -n 65536), then run the same command again",
    errno.EIO: "the disk may be failing; see the log of the kernel (dmesg), then try again",
    errno.ENOTCONN: "stale mount; remove it with cryofs umount MOUNTPOINT",
    errno.ESTALE: "its storage was lost meanwhile; mount that again",
}


def explain(error: OSError, place: object = None) -> str:
    """File, reason and remedy of an error of the system.

    Parameters
    ----------
    place : object
        The file, where the error does not name it.
    """
    name = error.filename2 or error.filename or place
    remedy = _REMEDIES.get(error.errno or 0)
    return ("" if name is None else f"{name}: ") + (error.strerror or str(error)) + (f"; {remedy}" if remedy else "")
