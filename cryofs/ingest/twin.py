"""Remove a plain movie whose archived movie exists already, if both have the same bytes."""

from concurrent.futures import Executor
from pathlib import Path

from cryofs.archive.same_bytes import movie_difference
from cryofs.errors import ArchiveError
from cryofs.formats.archive_names import archived_path
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.twins import conflict
from cryofs.storage import changes
from cryofs.storage.atomic_file import sync_folder
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.file_state import state_of
from cryofs.storage.hidden_files import hidden_name
from cryofs.storage.journal import FileMark, Line, add_line
from cryofs.storage.leases import LeaseUsers
from cryofs.storage.steps import Ended, end_step


def remove_equal(plain: Path, archive: Path, pool: Executor, *, covers: bool) -> Ended:
    """Remove a plain movie that equals the original of its archived movie, byte for byte.

    Parameters
    ----------
    covers : bool
        Whether leases cover all programs that can open the file.

    Raises
    ------
    DamagedError
        The files differ, or the archived movie is damaged. Nothing was removed.
    ChangedError
        A program has the plain file open, or it changed.
    """
    archived = archived_path(plain)
    with LocalFile.open(plain) as source, ArchivedMovie(archived, GainLibrary(archive), pool) as movie:
        if movie.record.adopted is not None:
            raise ArchiveError(
                f"{plain}: the name of its archived movie is taken ({archived.name}); rename one of them"
            )
        state, found = state_of(source.stat), movie.source.stat
        if movie_difference(source, movie) is not None:
            raise conflict(plain, archived)
    with LeaseUsers(plain, state, covers=covers) as users:
        users.check()
        line = Line(
            "ingest", FileMark.of(archived.name, found), FileMark.of(plain.name, plain.lstat()), hidden_name(plain.name)
        )
        add_line(plain.parent, line)
        with LocalFile.open(archived) as copy:
            changes.disk.sync(copy.descriptor)
        sync_folder(plain.parent)
        return end_step(plain.parent, line, users)
