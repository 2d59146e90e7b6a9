"""Bytes of open files at offsets: the one place of cryofs that reads them.

The system may give fewer bytes than were asked for (a signal, a network file system, more than 2 GiB at once). What is
read here is short only where the file ends, or it is an error. No position is kept, so threads may share a descriptor.
"""

import os

from cryofs.errors import DamagedError


def read_up_to(descriptor: int, size: int, offset: int) -> bytes:
    """`size` bytes at `offset`, fewer only where the file ends."""
    data = os.pread(descriptor, size, offset)
    if len(data) in (0, size):
        return data
    pieces = [data]
    while (missing := size - sum(map(len, pieces))) and pieces[-1]:
        pieces.append(os.pread(descriptor, missing, offset + size - missing))
    return b"".join(pieces)


def read_exactly(descriptor: int, size: int, offset: int, what: str) -> bytes:
    """`size` bytes at `offset`.

    Parameters
    ----------
    what : str
        How the error message calls these bytes and their file.

    Raises
    ------
    DamagedError
        The file ends before.
    """
    data = read_up_to(descriptor, size, offset)
    if len(data) < size:
        raise DamagedError(
            f"{what}: {size - len(data)} of {size} bytes are missing, the file ends at byte {offset + len(data)}; "
            "restore it from a backup"
        )
    return data


def fill(descriptor: int, memory: memoryview, offset: int) -> int:
    """Fill contiguous memory with the bytes at `offset`; return how many there were, fewer only where the file ends."""
    target = memory.cast("B")
    done = 0
    while done < len(target) and (count := os.preadv(descriptor, [target[done:]], offset + done)):
        done += count
    return done
