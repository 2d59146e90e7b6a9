"""Replace an archived movie by its original, a plain file, so that programs can write to it.

The original is decoded to a draft and compared with the checksums of the record. Then the same step as for an
ingestion replaces one file by the other (`cryofs.storage.steps`).
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from cryofs.archive.identify import is_marked
from cryofs.archive.verify import feed
from cryofs.errors import DamagedError
from cryofs.formats.archive_names import archived_path
from cryofs.formats.record import Original, read_record
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.twins import conflict
from cryofs.storage import changes
from cryofs.storage.atomic_file import Draft, draft, regular_file, sync_folder
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import recorded, replacing, update
from cryofs.storage.file_copy import copy_attributes
from cryofs.storage.steps import Users, replace_twin


@contextmanager
def original_draft(
    plain: Path, gains: GainLibrary, pool: Executor, check_room: Callable[[int], None], *, empty: bool
) -> Iterator[Path]:
    """Yield the complete, synced draft of the original of an archived movie; remove it at the end unless it was named.

    Parameters
    ----------
    plain : Path
        Path of the original; the archived movie is beside it.
    check_room : callable
        Raises OSError (ENOSPC) if there is no room for a file of so many bytes.
    empty : bool
        Whether the draft is to have no bytes; nothing is decoded.

    Raises
    ------
    OSError
        EROFS: the original is a TIFF movie, from which the MRC file is derived. ENOSPC: no room.
    DamagedError, GainError
        The original cannot be restored.
    """
    if empty and not check_removable(plain, gains):
        with LocalFile.open(archived_path(plain)) as source, draft(plain) as made:
            copy_attributes(source.descriptor, made.file.fileno(), stat.S_IMODE(os.fstat(source.descriptor).st_mode))
            made.sync()
            yield made.path
        return
    with ArchivedMovie(archived_path(plain), gains, pool) as movie:
        check_changeable(movie, plain)
        if not empty:
            check_room(movie.layout.total_bytes)
        with draft(plain) as made:
            if not empty:
                check_pages(movie)
                feed(movie, made.write, lambda _: None)
                made.file.flush()
            _copy_attributes(movie, made, empty=empty)
            made.sync()
            movie.source.check_unchanged()
            yield made.path


def check_changeable(movie: ArchivedMovie, plain: Path) -> None:
    """Raise OSError (EROFS) for an adopted TIFF movie, because its original is the TIFF file."""
    if movie.record.adopted is not None:
        raise OSError(errno.EROFS, "derived from a TIFF movie, so it is read-only", plain.name)


def check_removable(plain: Path, gains: GainLibrary) -> bool:
    """Return whether the record of an archived movie, which may be removed, is intact.

    Raises
    ------
    OSError
        EROFS: the original is a TIFF movie.
    DamagedError
        An intact TIFF movie of another program may have lost its record only.
    """
    archived = archived_path(plain)
    try:
        with ArchivedMovie(archived, gains) as movie:
            check_changeable(movie, plain)
    except DamagedError:
        if not is_marked(archived):
            raise
        return False
    return True


def replace_by_original(made: Path, plain: Path, users: Users) -> None:
    """Give the draft of an original its name, and remove the archived movie; the caller has locked the name.

    Raises
    ------
    DamagedError
        A plain file has the name already.
    ChangedError, OSError
        See `replace_twin`.
    """
    archived = archived_path(plain)
    if os.path.lexists(plain):
        # left beside the archived movie by a restored backup
        raise conflict(plain.name, archived.name)
    with replacing(plain):
        replace_twin("thaw", made, plain, archived, users)
    if recorded(archived) is not None:
        update(plain.parent, {archived.name: None})


def remove_plain_twin(plain: Path) -> None:
    """Remove the plain file beside an archived movie that counts, as a restored backup leaves it.

    The plain file beside a damaged archived movie may be the only copy. It stays, and has the name afterwards.
    """
    if regular_file(plain) is not None and not is_damaged(plain):
        changes.disk.remove(plain)
        sync_folder(plain.parent)


def is_damaged(plain: Path) -> bool:
    """Return True if the record of the archived movie of a name is damaged, so that nothing is known of it."""
    try:
        with LocalFile.open(archived_path(plain)) as source:
            read_record(source)
    except DamagedError:
        return True
    return False


def _copy_attributes(movie: ArchivedMovie, made: Draft, *, empty: bool) -> None:
    """Give a draft the owner and attributes that readers see of a movie; an empty one gets the present time."""
    target = made.file.fileno()
    original: Original = movie.record.original
    copy_attributes(movie.source.descriptor, target, original.mode)
    if not empty:
        changes.disk.set_times(target, original.atime_ns, original.mtime_ns)
