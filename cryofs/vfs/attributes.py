"""File attributes as returned by stat."""

import os
import stat
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace


@dataclass(frozen=True)
class Ownership:
    """Owner and group of all files and folders (None: as in the archive), and the permission bits to clear."""

    uid: int | None = None
    gid: int | None = None
    umask: int = 0


AS_ARCHIVED = Ownership()


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """File attributes as returned by stat; times are in nanoseconds."""

    mode: int
    size: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    uid: int
    gid: int
    inode: int
    links: int
    blocks: int

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    def owned(self, by: Ownership) -> "Attributes":
        """Return the attributes with another owner, group and permissions; symbolic links keep their mode."""
        if by == AS_ARCHIVED:
            return self
        return replace(
            self,
            uid=self.uid if by.uid is None else by.uid,
            gid=self.gid if by.gid is None else by.gid,
            mode=self.mode if stat.S_ISLNK(self.mode) else self.mode & ~by.umask,
        )


def attributes_of(found: os.stat_result) -> Attributes:
    """Return the attributes of a stored file, with the inode number of its own file system."""
    return Attributes(
        mode=found.st_mode,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        atime_ns=found.st_atime_ns,
        ctime_ns=found.st_ctime_ns,
        uid=found.st_uid,
        gid=found.st_gid,
        inode=found.st_ino,
        links=found.st_nlink,
        blocks=found.st_blocks,
    )
