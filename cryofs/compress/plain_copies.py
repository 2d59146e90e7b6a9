"""Make and remove plain copies of files with movie names that are not movies, or that compression does not shrink.

When a later run archives such a movie, it removes the plain copy. It does so only after the archived movie has its
final name, and only if the file is what a run copied, by its checksum. A file that was written in the archive stays.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryofs.archive.identify import held_movie, holds_movie
from cryofs.archive.jobs import Job, Kind
from cryofs.compress.existing import replaced_text, written_error
from cryofs.error_hints import reason_of
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.archive_names import is_reference_name, original_name
from cryofs.storage import atomic_file, changes, checksum_lists
from cryofs.storage.atomic_file import Draft
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import update
from cryofs.storage.checksums import file_sha256
from cryofs.storage.journal import FileMark, Line, add_line, replace_line


def plain_target(job: Job) -> Path:
    """Return the path of the plain copy of a movie in the archive; it has the name of its source."""
    return job.target.with_name(job.plain) if job.plain else original_target(job)


def original_target(job: Job) -> Path:
    """Return the path in the archive that has the name of the original of a movie."""
    return job.target.with_name(original_name(job.target.name) or job.target.name)


def plain_job(job: Job, archive: Path, reason: CryofsError) -> Job:
    """Return the job that copies a file that cannot be archived as a movie.

    Raises
    ------
    CryofsError
        The archive already contains a movie of this name, or mounts hide the name.
    """
    target = plain_target(job)
    if is_reference_name(target.name):
        problem = f"{reason_of(reason, job.source)}, and not copied, because mounts hide files with this name"
        raise ArchiveError(f"{job.source}: {problem}; rename the file") from reason
    if holds_movie(archive / job.target):
        problem = f"{reason_of(reason, job.source)}, so {archive / job.target} was not replaced"
        raise ArchiveError(f"{job.source}: {problem}; check the source") from reason
    return Job(Kind.FILE, job.source, target)


@dataclass(frozen=True)
class PlainCopy:
    """A plain copy that an archived movie replaces.

    Attributes
    ----------
    mark : FileMark
        State in which it was read.
    replaced : str or None
        Message if it was made of another original; None if it equals the source or the start of the source.
    """

    path: Path
    mark: FileMark
    replaced: str | None

    @contextlib.contextmanager
    def removed_after(self, made: Draft) -> Iterator[None]:
        """Remove the copy after the caller has published the draft of the archived movie in the context.

        The journal has a line meanwhile, because a mount might show neither of two files that differ.
        """
        folder = self.path.parent
        found = os.fstat(made.file.fileno())
        line = Line("replace", FileMark.of(made.target.name, found), self.mark)
        add_line(folder, line)
        try:
            yield
        except BaseException:
            # the first error counts; a recovery removes a line whose step never began
            with contextlib.suppress(CryofsError, OSError):
                if not line.counts.matches(atomic_file.regular_file(made.target)):
                    replace_line(folder, line, None)
            raise
        if self.mark.matches(atomic_file.regular_file(self.path)):
            changes.disk.remove(self.path)
            atomic_file.sync_folder(folder)
        replace_line(folder, line, None)


def plain_copy(plain: Path, source: Path, archived_sha256: str | None = None) -> PlainCopy | None:
    """Return the plain copy of a movie that is about to be archived, or that was; None if there is none.

    Parameters
    ----------
    archived_sha256 : str or None
        Checksum of the original of an archived movie that has the name already.

    Raises
    ------
    ArchiveError
        The file is not a copy, or was changed since it was copied, and differs from the source.
    """
    found = atomic_file.regular_file(plain)
    # a gain reference of the archive is not a movie
    if found is None or is_reference_name(plain.name):
        return None
    with LocalFile.open(plain) as copy, LocalFile.open(source) as file:
        sha256 = file_sha256(copy)
        is_start = file.size >= copy.size and file_sha256(file.first_bytes(copy.size)) == sha256
        is_equal = is_start and file.size == copy.size
    if not is_equal and sha256 != archived_sha256 and not checksum_lists.is_copy_with(plain, sha256):
        raise written_error(plain, source)
    replaced = None if is_start else replaced_text(plain, found.st_size, found.st_mtime_ns)
    return PlainCopy(plain, FileMark.of(plain.name, found), replaced)


def remove_plain_copy(archived: Path, plain: Path, source: Path) -> str | None:
    """Remove the plain copy or the link that a killed run left beside an archived movie, and its checksum line.

    Returns
    -------
    str or None
        Message if the copy was made of another original.

    Raises
    ------
    ArchiveError
        The file is not a copy, or was changed since it was copied, and differs from the source.
    """
    if plain.is_symlink():
        # an earlier run stored a link under this name; another run may remove it at the same time
        changes.disk.remove(plain, missing_ok=True)
        atomic_file.sync_folder(plain.parent)
        return None
    held = held_movie(archived)
    copy = plain_copy(plain, source, held.original.sha256 if held else None)
    if copy is not None:
        changes.disk.remove(plain)
        atomic_file.sync_folder(plain.parent)
    if not is_reference_name(plain.name) and not plain.exists() and checksum_lists.recorded(plain) is not None:
        update(plain.parent, {plain.name: None})
    return copy.replaced if copy else None
