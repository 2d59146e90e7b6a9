"""Damage of a file as a value that is cached like the metadata of intact files."""

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

# A file that changed within the last seconds may still be written, and a coarse clock may hide its next change.
_SETTLED_SECONDS = 10.0
# Errors of storage and permissions that persist on retry; all others are transient, or specific to this process.
_UNREADABLE = {errno.EIO, errno.EACCES, errno.EPERM, errno.EBADMSG, errno.EUCLEAN, errno.EREMOTEIO, errno.ENODATA}


class Damage(NamedTuple):
    """Reason why a file named like a movie cannot be shown as a movie.

    Attributes
    ----------
    reason : str
        Problem and remedy, without the file name.
    listed : bool
        Whether listings show the damaged movie; files without frames are not listed.
    """

    reason: str
    listed: bool = True


def or_damage(read: Callable[[LocalFile], T], listed: bool = True) -> Callable[[LocalFile], T | Damage]:
    """Wrap `read` so that it returns damage instead of raising it.

    If the last byte of a file cannot be read, storage failed, and the error is raised: a retry may succeed.
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
    """Return the damage for a persistent error of storage or permissions, or None for a transient error."""
    if error.errno not in _UNREADABLE:
        return None
    return Damage(explain(OSError(error.errno, error.strerror)))


def is_settled(found: os.stat_result) -> bool:
    """Return True if a file has not changed recently, so that its damage may be cached."""
    return time.time() - found.st_ctime > _SETTLED_SECONDS
