"""Reject comparisons that could compare files with themselves, or that rely on unsafe storage."""

import os
from collections.abc import Iterable
from pathlib import Path

from cryofs.archive.pairs import Scan, identity, is_one_inode
from cryofs.error_hints import explain
from cryofs.errors import ArchiveError
from cryofs.system.mount_table import Mount, is_remote, mount_of

MOUNT_TYPE = "fuse.cryofs"
# FUSE file systems that store data on a disk of this machine
_LOCAL_FUSE = ("fuseblk",)
_OTHER_FOLDER = "pass the folder that the archive was made from"


def check_folders(source: Path, archive: Path, mounts: list[Mount]) -> None:
    """Check SOURCE and ARCHIVE before their folders are listed.

    Raises
    ------
    ArchiveError
        A path is not a readable folder or is on a cryofs mount, or one folder contains the other.
    """
    for folder in (source, archive):
        try:
            os.scandir(folder).close()
        except OSError as error:
            raise ArchiveError(explain(error, folder)) from error
    check_archive(archive, mounts)
    inside = [mount.place for mount in mounts if mount.kind == MOUNT_TYPE and mount.place.is_relative_to(_real(source))]
    if _is_on_cryofs(source, mounts) or inside:
        place = inside[0] if inside else source
        raise ArchiveError(f"{place}: invalid SOURCE (expected originals, got a cryofs mount); {_OTHER_FOLDER}")
    for one, other in ((source, archive), (archive, source)):
        places = [_real(one), *_real(one).parents]
        if any(is_one_inode(other.stat(), place.stat()) for place in places):
            raise ArchiveError(f"{one}: SOURCE and ARCHIVE overlap ({other}); {_OTHER_FOLDER}")


def check_scan(found: Scan, mounts: list[Mount]) -> None:
    """Check the folders that were found below SOURCE and ARCHIVE.

    Raises
    ------
    ArchiveError
        A folder belongs to both sides, for example through a bind mount, or is on a cryofs mount.
    """
    cryofs_devices = {mount.device for mount in mounts if mount.kind == MOUNT_TYPE}
    for key, folder in found.source_folders.items():
        if key in found.archive_folders:
            other = found.archive_folders[key]
            raise ArchiveError(f"{folder}: SOURCE and ARCHIVE overlap (same folder as {other}); {_OTHER_FOLDER}")
        if device_name(key[0]) in cryofs_devices:
            raise ArchiveError(f"{folder}: invalid SOURCE (expected originals, got a cryofs mount); {_OTHER_FOLDER}")


def check_archive(archive: Path, mounts: list[Mount]) -> None:
    """Check that a folder can be an archive.

    Raises
    ------
    ArchiveError
        The folder is on a cryofs mount.
    """
    if _is_on_cryofs(archive, mounts):
        raise ArchiveError(f"{archive}: not an archive (got a cryofs mount); pass the folder given to compress as -o")


def check_links(found: Scan) -> None:
    """Check that the archive does not depend on sources that the run will remove.

    Raises
    ------
    ArchiveError
        A link of the archive leads into SOURCE.
    """
    for link in found.archive_links:
        target = Path(os.path.realpath(link))
        if any(_is_one_of(place, found.source_folders) for place in (target, *target.parents)):
            text = f"{link}: link of the archive leads into SOURCE ({target})"
            raise ArchiveError(f"{text}; replace it with a copy, for example with cryofs compress --follow-links")


def check_storage(archive: Path, folders: Iterable[Path], mounts: list[Mount]) -> None:
    """Check that fsync is reliable on the storage of the archive.

    Raises
    ------
    ArchiveError
        A folder is on a FUSE file system whose fsync may return before the data are on disk.
    """
    places = {_real(archive), *map(_real, folders)}
    for mount in {mount_of(place, mounts) for place in places} - {None}:
        if mount is not None and mount.kind.startswith("fuse") and mount.kind not in _LOCAL_FUSE:
            text = f"{mount.place}: fsync on {mount.kind} does not guarantee that data are on disk"
            raise ArchiveError(f"{text}; pass --trust-storage to accept this storage")


def leases_hold(folder: Path, mounts: list[Mount]) -> bool:
    """Return True if a lease on a file of this folder detects all programs that open the file."""
    mount = mount_of(_real(folder), mounts)
    return mount is not None and not is_remote(mount.kind)


def device_name(device: int) -> str:
    """Return a device number as `major:minor`, the form of the mount table."""
    return f"{os.major(device)}:{os.minor(device)}"


def _is_on_cryofs(folder: Path, mounts: list[Mount]) -> bool:
    mount = mount_of(_real(folder), mounts)
    return mount is not None and mount.kind == MOUNT_TYPE


def _is_one_of(place: Path, folders: dict[tuple[int, int], Path]) -> bool:
    try:
        return identity(place.stat()) in folders
    except OSError:
        return False


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
