"""Make and remove plain copies of files with movie names that are not movies or that compression does not shrink.

When a later run archives such a movie, the run removes the plain copy, but only after the archived movie has its final
name, and only if the copy was not modified.
"""

from pathlib import Path

from cryofs.archive.identify import held_movie, holds_movie
from cryofs.archive.jobs import Job, Kind
from cryofs.compress.existing import replaced_text
from cryofs.error_hints import reason_of
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.archive_names import is_reference_name, original_name
from cryofs.storage import atomic_file, changes
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import ChecksumLists, update
from cryofs.storage.checksums import file_sha256


def plain_target(job: Job) -> Path:
    """Return the path of the plain copy of a movie in the archive, which has the name of the original."""
    return job.target.with_name(original_name(job.target.name) or job.target.name)


def plain_job(job: Job, archive: Path, reason: CryofsError) -> Job:
    """Return the job that copies a file which cannot be archived as a movie.

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


def remove_plain_copy(archived: Path, plain: Path, source: Path, lists: ChecksumLists) -> str | None:
    """Remove the plain copy of a movie that was archived, and the line of the copy in the checksum list.

    Returns
    -------
    str or None
        Message if the copy was made of another original; None if it equalled the source or the start of the source.

    Raises
    ------
    ArchiveError
        The copy was modified and is not removed.
    """
    if plain.is_symlink():
        # an earlier run stored a link under this name; another run may remove it at the same time
        changes.disk.remove(plain, missing_ok=True)
        atomic_file.sync_folder(plain.parent)
    elif (found := atomic_file.regular_file(plain)) is not None:
        held = held_movie(archived)
        try:
            with LocalFile.open(plain) as copy:
                sha256 = file_sha256(copy)
        except FileNotFoundError:
            return None  # removed by another run
        if sha256 not in (lists.recorded(plain), held and held.original.sha256):
            text = f"{plain}: modified plain copy, not removed although mounts show {archived.name} instead"
            raise ArchiveError(f"{text}; compare both files, then remove or rename the copy")
        changes.disk.remove(plain, missing_ok=True)
        atomic_file.sync_folder(plain.parent)
        update(plain.parent, {plain.name: None})
        if sha256 != (held and held.original.sha256) and not _begins_with(source, sha256, found.st_size):
            return replaced_text(plain, found.st_size, found.st_mtime_ns)
    elif lists.recorded(plain) is not None:
        # a run was killed before it removed the line
        update(plain.parent, {plain.name: None})
    return None


def _begins_with(source: Path, sha256: str, size: int) -> bool:
    """Return True if the first `size` bytes of a file have this SHA-256: the copy was made of an incomplete file."""
    with LocalFile.open(source) as file:
        return file.size >= size and file_sha256(file.first_bytes(size)) == sha256
