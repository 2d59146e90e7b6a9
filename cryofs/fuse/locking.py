"""Lock the archive of a writable mount, and recover what a killed command left in it."""

import logging
from pathlib import Path

from cryofs.archive.recovery import recover
from cryofs.archive.refusals import check_archive
from cryofs.storage.archive_lock import Activity, ArchiveLock
from cryofs.system.mount_table import mount_table

log = logging.getLogger("cryofs")


def lock_archive(archive: Path, *, break_lock: bool) -> ArchiveLock:
    """Return the lock of an archive, which is recovered; call this before the mount hides anything.

    Parameters
    ----------
    break_lock : bool
        Whether holders on other machines do not count.

    Raises
    ------
    ArchiveError
        Another command changes the archive, or the folder is on a cryofs mount.
    CryofsError, OSError
        The archive cannot be recovered.
    """
    check_archive(archive, mount_table())
    lock = ArchiveLock(archive, Activity.MOUNT, break_lock=break_lock)
    try:
        recover(archive, log.warning)
    except BaseException:
        lock.release()
        raise
    return lock
