"""Plain copies: files named like movies that are not movies, and movies that compression does not shrink.

When a later run archives such a movie, its plain copy is removed, but only after the archived movie has its final name,
and only if the copy still has the bytes that were copied.
"""

from pathlib import Path

from cryofs.archive.identify import held_movie, holds_movie
from cryofs.archive.jobs import Job, Kind
from cryofs.compress.existing import replaced_text
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.archive_names import is_reference_name, original_name
from cryofs.storage import atomic_file, changes
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import ChecksumLists, update
from cryofs.storage.checksums import file_sha256


def plain_target(job: Job) -> Path:
    """Return the name of the plain copy of a movie in the archive: the name of the original."""
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
        text = f"{reason}; not copied, because mounts hide files of this name"
        raise ArchiveError(f"{text}: rename it") from reason
    if holds_movie(archive / job.target):
        text = f"{reason}; the existing {archive / job.target} was kept"
        raise ArchiveError(text) from reason
    return Job(Kind.FILE, job.source, target)


def remove_plain_copy(archived: Path, plain: Path, source: Path, lists: ChecksumLists) -> str | None:
    """Remove the plain copy of a movie that is archived now, together with its checksum.

    Returns
    -------
    str or None
        A message if the copy was of another original, not of the source or its beginning.

    Raises
    ------
    ArchiveError
        The copy was modified and is not removed.
    """
    if plain.is_symlink():
        # an earlier run stored a link under this name
        changes.disk.remove(plain)
        atomic_file.sync_folder(plain.parent)
    elif (found := atomic_file.regular_file(plain)) is not None:
        held = held_movie(archived)
        with LocalFile.open(plain) as copy:
            sha256 = file_sha256(copy)
        if sha256 not in (lists.recorded(plain), held and held.original.sha256):
            text = f"{plain}: changed since it was copied, so it was kept, but mounts show {archived.name} in its place"
            raise ArchiveError(f"{text}; compare them, then remove or rename it")
        changes.disk.remove(plain)
        atomic_file.sync_folder(plain.parent)
        update(plain.parent, {plain.name: None})
        if sha256 != (held and held.original.sha256) and not _begins_with(source, sha256, found.st_size):
            return replaced_text(plain, found.st_size, found.st_mtime_ns)
    elif lists.recorded(plain) is not None:
        # a run was killed before it removed the line
        update(plain.parent, {plain.name: None})
    return None


def _begins_with(source: Path, sha256: str, size: int) -> bool:
    """Return True if the first `size` bytes of a file have this SHA-256, as a copy of an incomplete movie has."""
    with LocalFile.open(source) as file:
        return file.size >= size and file_sha256(file.first_bytes(size)) == sha256
