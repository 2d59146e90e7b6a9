"""All system calls that create, rename, remove and sync files and folders of an archive.

What a file system cannot store, such as permissions on exFAT, is left out with a notice; all other errors are raised.

Other modules use `changes.disk`, so that a test can replace it with a recorder and determine the content of the storage
after a power failure at any moment. Callers write bytes to the files that `create` returns.
"""

import errno
import io
import os
import shutil
import stat
from pathlib import Path
from typing import cast

from cryofs.storage import lacking
from cryofs.system import file_calls, renaming

# Pages of small frames are written together.
_BUFFER_BYTES = 1 << 16


class Disk:
    """System calls that change storage."""

    def create(self, path: Path) -> io.BufferedRandom:
        """Create a file and return it, open for writing; raise FileExistsError if the name already exists."""
        return cast(io.BufferedRandom, path.open("x+b", _BUFFER_BYTES))

    def sync(self, descriptor: int) -> None:
        """Make the bytes of a file, or the names in a folder, durable."""
        os.fsync(descriptor)

    def sync_names(self, descriptor: int, folder: Path) -> None:
        """Make the names in an open folder durable, as far as the storage can."""
        try:
            self.sync(descriptor)
        except OSError as error:
            lacking.leave_out(lacking.FOLDER_SYNC, error, folder)

    def move(self, path: Path, target: Path) -> None:
        """Rename a file, replacing any file with the new name."""
        path.replace(target)

    def move_new(self, path: Path, target: Path) -> None:
        """Rename a file; raise FileExistsError if the name already exists."""
        if renaming.rename(path, target, renaming.NO_REPLACE):
            return
        # a file system without the flag; without hard links too, two simultaneous runs cannot be distinguished
        try:
            target.hardlink_to(path)
        except FileExistsError:
            raise
        except OSError:
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            path.replace(target)
        else:
            path.unlink()

    def link(self, path: Path, target: Path) -> None:
        """Create a hard link to a file; raise FileExistsError if the name already exists."""
        target.hardlink_to(path)

    def link_to(self, text: Path, target: Path) -> None:
        """Create a symbolic link with the target `text`; raise FileExistsError if the name already exists."""
        target.symlink_to(text)

    def remove(self, path: Path, *, missing_ok: bool = False) -> None:
        """Remove a file; with `missing_ok`, ignore a missing file."""
        path.unlink(missing_ok=missing_ok)

    def remove_in(self, folder: int, name: str) -> None:
        """Remove a file in an open folder."""
        os.unlink(name, dir_fd=folder)

    def make_folder(self, path: Path) -> None:
        """Create a folder; raise FileExistsError if the name already exists."""
        path.mkdir()

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; raise OSError if it is not empty."""
        path.rmdir()

    def remove_folder_in(self, folder: int, name: str) -> None:
        """Remove an empty folder in an open folder; raise OSError if it is not empty."""
        os.rmdir(name, dir_fd=folder)

    def set_mode(self, file: Path | int, mode: int) -> None:
        """Set the permission bits of a file or folder, as far as the storage keeps any."""
        try:
            os.chmod(file, mode)  # noqa: PTH101 - also of open files
        except OSError as error:
            lacking.leave_out(lacking.MODES, error, file)

    def set_owner(self, descriptor: int, user: int, group: int) -> None:
        """Set the owner of an open file."""
        os.fchown(descriptor, user, group)

    def set_times(self, file: Path | int, atime_ns: int, mtime_ns: int) -> None:
        """Set the access and modification times of a file or folder, as far as the storage lets users set them."""
        try:
            os.utime(file, ns=(atime_ns, mtime_ns))
        except OSError as error:
            lacking.leave_out(lacking.TIMES, error, file)

    def set_attribute(self, descriptor: int, name: str, value: bytes) -> None:
        """Set an extended attribute of an open file."""
        os.setxattr(descriptor, name, value)

    def set_attribute_of(self, path: Path, name: str, value: bytes, flags: int) -> None:
        """Set an extended attribute, with the flags of setxattr(2)."""
        os.setxattr(path, name, value, flags)

    def remove_attribute(self, path: Path, name: str) -> None:
        """Remove an extended attribute."""
        os.removexattr(path, name)

    def create_in(self, folder: int, name: str, mode: int) -> int:
        """Create a file in an open folder and return its descriptor; raise FileExistsError if the name exists."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, mode, dir_fd=folder)

    def open_again(self, descriptor: int) -> int:
        """Open the file of a descriptor for reading and writing, even if it has no name any more."""
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Write bytes at an offset of an open file, and return how many were written."""
        return os.pwrite(descriptor, data, offset)

    def set_size(self, descriptor: int, size: int) -> None:
        """Cut or extend an open file."""
        os.ftruncate(descriptor, size)

    def allocate(self, descriptor: int, mode: int, offset: int, size: int) -> None:
        """Allocate, clear or remove bytes of an open file, as fallocate(2) does."""
        file_calls.allocate(descriptor, mode, offset, size)

    def make_folder_in(self, folder: int, name: str, mode: int) -> None:
        """Create a folder in an open folder; raise FileExistsError if the name exists."""
        os.mkdir(name, mode, dir_fd=folder)

    def link_to_in(self, text: str, folder: int, name: str) -> None:
        """Create a symbolic link with this text in an open folder; raise FileExistsError if the name exists."""
        os.symlink(text, name, dir_fd=folder)

    def move_in(self, folder: int, name: str, target_folder: int, target: str, flags: int) -> None:
        """Rename a name of an open folder, with the flags of renameat2(2)."""
        if flags:
            file_calls.move(folder, name, target_folder, target, flags)
        else:
            os.rename(name, target, src_dir_fd=folder, dst_dir_fd=target_folder)

    def set_owner_in(self, folder: int, name: str, user: int, group: int) -> None:
        """Set the owner of a name in an open folder, of a link itself; -1 leaves the user or group as it is."""
        os.chown(name, user, group, dir_fd=folder, follow_symlinks=False)

    def set_times_in(self, folder: int, name: str, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set the times of a name in an open folder, of a link itself; None leaves a time as it is."""
        file_calls.set_times(folder, name, atime_ns, mtime_ns)

    def set_times_of(self, descriptor: int, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set the times of an open file; None leaves a time as it is."""
        file_calls.set_times_of(descriptor, atime_ns, mtime_ns)

    def copy_attributes(self, source: Path, target: Path) -> None:
        """Copy the mode, times and extended attributes of a folder to another, as far as the storage keeps them."""
        try:
            shutil.copystat(source, target)
        except OSError as error:
            if not lacking.is_unsupported(error):
                raise
            found = source.stat()
            self.set_times(target, found.st_atime_ns, found.st_mtime_ns)
            self.set_mode(target, stat.S_IMODE(found.st_mode))


# Callers must use `changes.disk` and not keep a reference to its value, because tests replace it.
disk = Disk()
