"""A disk of any size, as far as programs ask how much is free: the files of a folder take what they hold."""

import os
from pathlib import Path

import pytest

_BLOCK = 512


class SmallDisk:
    """The file system of a folder.

    Attributes
    ----------
    others : int
        Bytes that other files take; a test may change them.
    queries : int
        How often its state was asked for.
    """

    def __init__(self, folder: Path, size: int):
        self.folder = folder
        self.others = 0
        self.queries = 0
        self._size = size
        self._real = os.fstatvfs(os.open(folder, os.O_PATH))

    @property
    def free(self) -> int:
        """Free bytes."""
        found = [path.lstat() for path in self.folder.rglob("*")]
        return self._size - self.others - sum(one.st_blocks for one in found) * _BLOCK

    def leave(self, free: int) -> None:
        """Let other files take all but so many bytes."""
        self.others += self.free - free

    def statvfs(self, _: int) -> os.statvfs_result:
        """Return what fstatvfs(2) would; a tenth of the free blocks is reserved for root."""
        self.queries += 1
        free = max(0, self.free) // _BLOCK
        return os.statvfs_result((_BLOCK, _BLOCK, self._size // _BLOCK, free * 10 // 9, free, *self._real[5:]))


def small_disk(folder: Path, size: int, patch: pytest.MonkeyPatch) -> SmallDisk:
    """Let a folder lie on a disk of so many bytes."""
    disk = SmallDisk(folder, size)
    patch.setattr(os, "fstatvfs", disk.statvfs)
    return disk
