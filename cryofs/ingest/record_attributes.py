"""Change mode and times of an archived movie: at once in an extended attribute of its file, later in its record.

The record is at the end of the file, and is never changed in place. A draft of the file with another record replaces
it in one call. Until then the extended attribute counts (`cryofs.formats.changed_attributes`); the new file has none.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryofs.archive.progress import as_cryofs_error
from cryofs.error_hints import reason_of
from cryofs.errors import ChangedError, CryofsError, DamagedError
from cryofs.formats.archive_names import original_name
from cryofs.formats.changed_attributes import CHANGED, ChangedAttributes
from cryofs.formats.record import Original, encode_record, read_record, record_offset, stored_record, with_attributes
from cryofs.storage import changes
from cryofs.storage.atomic_file import Draft, draft
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import replacing
from cryofs.storage.file_copy import copy_attributes
from cryofs.storage.file_state import is_still
from cryofs.storage.folders import folders_of
from cryofs.storage.journal import read_journal
from cryofs.vfs.changing import AttributeChange

_CHUNK = 8 << 20
# Longest time in which kernels give all changes of a file the same ctime.
_TICK_SECONDS = 0.02
# Errors of setxattr(2) after which the record is written at once: no attributes, no space for them, a read-only file.
_NOT_HELD = {errno.ENOTSUP, errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.EACCES, errno.EPERM}


def changed_by(original: Original, change: AttributeChange) -> ChangedAttributes:
    """Return mode and times of an original after a change."""
    mode = original.mode if change.mode is None else change.mode
    if change.mode is None and (change.uid, change.gid) != (None, None):
        # as chown(2) does
        mode &= ~stat.S_ISUID
        if mode & stat.S_IXGRP:
            mode &= ~stat.S_ISGID
    mtime_ns = original.mtime_ns if change.mtime_ns is None else change.mtime_ns
    atime_ns = original.atime_ns if change.atime_ns is None else change.atime_ns
    return ChangedAttributes(mode, mtime_ns, atime_ns)


def hold(source: LocalFile, original: Original, changed: ChangedAttributes) -> bool:
    """Set mode and times of an archived movie; return False if its file cannot hold them.

    Parameters
    ----------
    original : Original
        The original with its current attributes.
    """
    before = os.fstat(source.descriptor).st_ctime_ns
    until = time.monotonic() + _TICK_SECONDS
    while True:
        try:
            changes.disk.set_attribute(source.descriptor, CHANGED, changed.encode())
        except OSError as error:
            if error.errno not in _NOT_HELD:
                raise
            return False
        # caches know a state of the file by its ctime, which kernels before Linux 6.13 move only every few milliseconds
        if os.fstat(source.descriptor).st_ctime_ns != before or time.monotonic() > until:
            break
        time.sleep(_TICK_SECONDS / 20)
    if changed.mode != original.mode:
        # the archive protects the file as the mount protects the movie
        changes.disk.set_mode(source.descriptor, _stored_mode(changed.mode))
    return True


def changed_movies(archive: Path) -> Iterator[Path]:
    """Yield the archived movies whose mode or times are not in the record yet."""
    for folder, names in folders_of(archive):
        for name in names:
            if original_name(name) is not None and is_changed(folder / name):
                yield folder / name


def record_changed(archive: Path, note: Callable[[str], None], check: Callable[[], None]) -> None:
    """Write the changed attributes of all archived movies into their records; report errors as notes.

    Parameters
    ----------
    check : callable
        Called often; ends the work by an exception.
    """
    for archived in changed_movies(archive):
        try:
            with recorded_draft(archived, check=check) as (made, source):
                replace_record(made, source, lambda: None)
        except (CryofsError, OSError) as error:
            reason = reason_of(as_cryofs_error(error, archived), archived)
            note(f"{archived}: changed attributes not recorded ({reason})")
        else:
            note(f"{archived}: changed attributes recorded")


@contextmanager
def recorded_draft(
    archived: Path, changed: ChangedAttributes | None = None, check: Callable[[], None] = lambda: None
) -> Iterator[tuple[Draft, LocalFile]]:
    """Yield a complete, synced draft of an archived movie whose record has the attributes, and the movie's file.

    Parameters
    ----------
    changed : ChangedAttributes, optional
        The attributes; by default the current ones.
    check : callable
        Called often; ends the work by an exception.

    Raises
    ------
    DamagedError
        The file is damaged, or the draft differs from it.
    OSError
        A call failed, for example because the owner cannot be kept.
    """
    with LocalFile.open(archived) as source, draft(archived) as made:
        record, mode = read_record(source), stat.S_IMODE(source.stat.st_mode)
        if changed is not None:
            mode = mode if changed.mode == record.original.mode else _stored_mode(changed.mode)
            record = with_attributes(record, changed)
        end = record_offset(source)
        for offset in range(0, end, _CHUNK):
            check()
            made.write(source.read_exactly(min(_CHUNK, end - offset), offset, source.name))
        made.write(encode_record(record, end))
        made.file.flush()
        copy_attributes(source.descriptor, made.file.fileno(), mode)
        made.sync()
        with LocalFile(made.file.fileno(), source.name, is_owned=False) as written:
            for offset in range(0, end, _CHUNK):
                check()
                if written.read(min(_CHUNK, end - offset), offset) != source.read(min(_CHUNK, end - offset), offset):
                    raise DamagedError(f"{source.name}: a copy of it differs; check the kernel log for a failing disk")
            if read_record(written) != record:
                raise DamagedError(f"{source.name}: its new record cannot be read; check the disk")
        yield made, source


def replace_record(made: Draft, source: LocalFile, switch: Callable[[], None]) -> None:
    """Let a draft of `recorded_draft` replace the archived movie, durably. In a mount, the caller has locked the name.

    Parameters
    ----------
    switch : callable
        Called once the draft has the name.

    Raises
    ------
    ChangedError
        The archived movie changed since the draft was begun, or the journal describes it.
    """
    archived = made.target
    if not is_still(archived, source.identity):
        raise ChangedError(f"{archived}: changed or replaced since it was read; retry later")
    if any(archived.name in (line.counts.name, line.other.name) for line in read_journal(archived.parent).lines):
        raise ChangedError(f"{archived}: the journal of its folder has an unfinished step for it; retry later")
    with replacing(archived):
        made.publish()
    switch()


def _stored_mode(mode: int) -> int:
    """Return the permissions of the file of a movie with this mode, which a mount of its owner can always read."""
    return (mode & 0o777) | stat.S_IRUSR


def is_changed(archived: Path) -> bool:
    """Return True if the attributes of an archived movie should be recorded.

    A file with several names keeps the extended attribute, and a new access time alone is not recorded.
    """
    try:
        if CHANGED not in os.listxattr(archived, follow_symlinks=False):
            return False
        with LocalFile.open(archived) as source:
            now, before = read_record(source).original, stored_record(source).original
            return source.stat.st_nlink == 1 and (now.mode, now.mtime_ns) != (before.mode, before.mtime_ns)
    except (CryofsError, OSError):
        return False
