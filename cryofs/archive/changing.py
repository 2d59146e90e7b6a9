"""Lock an archive that a command is about to change, and recover it first."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cryofs.archive.recovery import Report, recover
from cryofs.archive.refusals import check_archive
from cryofs.storage.archive_lock import Activity, ArchiveLock
from cryofs.system.mount_table import mount_table


@contextlib.contextmanager
def changing(archive: Path, activity: Activity, report: Report, *, break_lock: bool = False) -> Iterator[ArchiveLock]:
    """Hold the lock of an archive in the context; recover the archive first unless another holder lives.

    Raises
    ------
    ArchiveError
        Another holder excludes this one, or the archive is on a cryofs mount.
    """
    check_archive(archive, mount_table())
    with ArchiveLock(archive, activity, break_lock=break_lock) as lock:
        # the steps of a living holder are its own
        if lock.is_alone:
            recover(archive, report)
        yield lock
