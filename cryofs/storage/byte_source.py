"""Byte sources, from which all movies, records and indexes are read at given offsets.

The system may return fewer bytes than requested, because of a signal, a network file system, or a request of more than
2 GiB. A byte source continues after such a short read, so that its reads are short only at the end of the file. Sources
have no file position, so threads may share them.
"""

import contextlib
import copy
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError, DamagedError
from cryofs.storage.file_state import FileState, is_open_still, state_of
from cryofs.storage.followed_content import FollowedContent

# There is no attribute of this name, or the file system has none at all.
_NO_ATTRIBUTE = (errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class ByteSource(ABC):
    """Interface of bytes that can be read at any offset.

    Attributes
    ----------
    name : str
        Name of the source for messages.
    size : int
        Size in bytes when the source was opened.
    identity : tuple
        Cache key; differs for all contents that the file system can distinguish.
    """

    name: str
    size: int
    identity: tuple[Hashable, ...]

    @abstractmethod
    def read(self, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer only at the end of the file."""

    @abstractmethod
    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fill contiguous memory from `offset`; return the number of bytes read, fewer only at the end of the file."""

    @abstractmethod
    def is_unchanged(self) -> bool:
        """Return True if the bytes have not changed since the source was opened."""

    @abstractmethod
    def close(self) -> None:
        """Release the resources of the source."""

    def attribute(self, name: str) -> bytes | None:
        """Return an extended attribute of the file of these bytes, None if there is none, or no such file."""
        return None

    def announce(self, size: int, offset: int) -> None:
        """Let the storage begin to read bytes that will probably be needed; the offset may be outside the file."""
        return

    def check_unchanged(self) -> None:
        """Raise ChangedError if the bytes have changed since the source was opened."""
        if not self.is_unchanged():
            raise ChangedError(f"{self.name}: overwritten while it was open; open it again")

    def read_exactly(self, size: int, offset: int, what: str) -> bytes:
        """Return `size` bytes at `offset`.

        Parameters
        ----------
        what : str
            Name of these bytes for the error message.

        Raises
        ------
        DamagedError
            The file ends before the last of these bytes.
        """
        data = self.read(size, offset)
        if len(data) < size:
            raise missing_bytes(what, size, offset, len(data))
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalFile(ByteSource):
    """A byte source that reads a file through its descriptor.

    Parameters
    ----------
    descriptor : int
        Descriptor of the open file.
    name : str
        Name of the file for messages.
    is_owned : bool
        Whether `close` closes the descriptor.

    Attributes
    ----------
    stat : os.stat_result
        Attributes of the file when it was opened.
    """

    # System calls, as attributes so that tests can replace them to inject faults.
    _pread = staticmethod(os.pread)
    _preadv = staticmethod(os.preadv)
    _getxattr = staticmethod(os.getxattr)

    def __init__(self, descriptor: int, name: str, *, is_owned: bool = True):
        self.descriptor = descriptor
        self.name = name
        self._is_owned = is_owned
        self._can_read_cached = True
        self._content: FollowedContent | None = None
        try:
            self.stat = os.fstat(descriptor)
        except BaseException:
            self.close()
            raise
        self.size = self.stat.st_size
        self.identity: FileState = state_of(self.stat)

    @classmethod
    def open(cls, path: Path, name: str | None = None) -> Self:
        """Open the file at a path for reading; messages use `name`, or the path if `name` is None."""
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC), name or str(path))

    def read(self, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer only at the end of the file."""
        data = self._pread(self.descriptor, size, offset)
        if len(data) not in (0, size):
            pieces = [data]
            while (missing := size - sum(map(len, pieces))) and pieces[-1]:
                pieces.append(self._pread(self.descriptor, missing, offset + size - missing))
            data = b"".join(pieces)
        if self._content is not None:
            self._content.record(offset, data)
        return data

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fill contiguous memory from `offset`; return the number of bytes read, fewer only at the end of the file."""
        target = memory.cast("B")
        done = 0
        while done < len(target) and (count := self._preadv(self.descriptor, [target[done:]], offset + done)):
            done += count
        if self._content is not None:
            self._content.record(offset, target[:done])
        return done

    def announce(self, size: int, offset: int) -> None:
        """Let the kernel read bytes into its page cache in the background."""
        # some file systems do not support this
        with contextlib.suppress(OSError):
            os.posix_fadvise(self.descriptor, max(offset, 0), size, os.POSIX_FADV_WILLNEED)

    def read_cached(self, size: int, offset: int) -> NDArray[np.uint8] | None:
        """Return the bytes of `read` as an array (uint8, shape (n,)) if all are in the page cache, otherwise None."""
        if not self._can_read_cached:
            return None
        memory = np.empty(size, np.uint8)
        try:
            count = self._preadv(self.descriptor, [memory.data], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError:
            # not supported by this file system; `read` reports all other errors
            self._can_read_cached = False
            return None
        if count < size and offset + count < os.fstat(self.descriptor).st_size:
            return None
        return memory[:count]

    def attribute(self, name: str) -> bytes | None:
        """Return an extended attribute of the file, or None if there is none."""
        try:
            return self._getxattr(self.descriptor, name)
        except OSError as error:
            if error.errno in _NO_ATTRIBUTE:
                return None
            raise

    def is_unchanged(self) -> bool:
        """Return True if the file has not been written to since it was opened."""
        if self._content is not None:
            return self._content.is_same(os.fstat(self.descriptor))
        return is_open_still(self.descriptor, self.stat)

    def follow_content(
        self, expected: str, digest: "Callable[[LocalFile], str]", on_change: Callable[[], None]
    ) -> None:
        """Let the file count as unchanged if only its ctime moves and its content is the same.

        Parameters are those of `FollowedContent`.
        """
        # otherwise `expected` may be that of another content
        if state_of(os.fstat(self.descriptor)) == self.identity:
            plain = copy.copy(self)
            plain._is_owned = False
            self._content = FollowedContent(plain, expected, digest, on_change)

    def first_bytes(self, size: int) -> Self:
        """Return a source of the first `size` bytes, valid until this source is closed."""
        part = copy.copy(self)
        part.size, part._is_owned = size, False
        return part

    def close(self) -> None:
        """Close the descriptor if this source owns it."""
        if self._is_owned:
            self._is_owned = False
            os.close(self.descriptor)


def missing_bytes(what: str, size: int, offset: int, found: int) -> DamagedError:
    """Return the error for a read of `size` bytes at `offset` that returned only `found` bytes."""
    return DamagedError(
        f"{what}: truncated, {size - found} of {size} bytes missing (the file ends at byte {offset + found}); "
        "restore the file from a backup"
    )
