"""Damage of a file as a value, so that it is cached in the same way as the metadata of intact files."""

import errno
import os
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from cryofs.error_hints import explain
from cryofs.errors import DamagedError, FormatError
from cryofs.formats.tiff_movie import NoFramesError
from cryofs.storage.byte_source import LocalFile

T = TypeVar("T")

# A file that changed within the last seconds may still be arriving, and a coarse clock may not show its next change.
_SETTLED_SECONDS = 10.0
# Errors of storage and permissions that a retry returns again; others are transient, or concern this process.
_UNREADABLE = {errno.EIO, errno.EACCES, errno.EPERM, errno.EBADMSG, errno.EUCLEAN, errno.EREMOTEIO, errno.ENODATA}


class Damage(NamedTuple):
    """Reason why a file with the name of a movie cannot be shown as one.

    Attributes
    ----------
    reason : str
        Problem and remedy, without the name of the file.
    listed : bool
        Whether the movie is listed, so that the loss is seen; a file without any frame is not listed.
    """

    reason: str
    listed: bool = True


def or_damage(read: Callable[[LocalFile], T], listed: bool = True) -> Callable[[LocalFile], T | Damage]:
    """Return a function that calls `read`, and returns the damage that `read` raises.

    If the last byte of a file cannot be read, the storage failed: the next read may succeed.
    """

    def reading(source: LocalFile) -> T | Damage:
        try:
            return read(source)
        except (DamagedError, FormatError) as error:
            if source.size and not source.read(1, source.size - 1):
                raise OSError(errno.EIO, "its last byte cannot be read") from error
            listed_here = listed and not isinstance(error, NoFramesError)
            return Damage(str(error).removeprefix(f"{source.name}: "), listed_here)

    return reading


def damage_of(error: OSError) -> Damage | None:
    """Return the damage for an error of storage or permissions that lasts, or None for a transient error."""
    if error.errno not in _UNREADABLE:
        return None
    return Damage(explain(OSError(error.errno, error.strerror)))


def is_settled(found: os.stat_result) -> bool:
    """Return True if a file has not changed for a while, so that its damage may be remembered."""
    return time.time() - found.st_ctime > _SETTLED_SECONDS
