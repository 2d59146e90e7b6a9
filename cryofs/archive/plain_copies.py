"""Movies that are kept as plain copies: files called like movies that are not, and movies that would not get smaller.

When a later run archives such a movie, its plain copy goes, but only after the archived movie has its final name, and
only if it still has the bytes that were copied.
"""

from pathlib import Path

from cryofs.archive import durable
from cryofs.archive.checksum_lists import ChecksumLists, update
from cryofs.archive.done import held_movie, holds_movie
from cryofs.archive.jobs import Job, Kind
from cryofs.errors import ArchiveError, CryofsError, FormatError
from cryofs.formats.sums import file_sha256
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.names import is_movie_name, is_reference_name, original_name


def plain_target(job: Job) -> Path:
    """Return the name in the archive that the plain copy of a movie has: its own."""
    return job.target.with_name(original_name(job.target.name) or job.target.name)


def plain_job(job: Job, archive: Path, reason: CryofsError) -> Job:
    """Return the job that copies a file which cannot be archived as a movie.

    Raises
    ------
    CryofsError
        The archive has a movie of this name, which stays; or the name is one that mounts hide.
    """
    target = plain_target(job)
    if is_reference_name(target.name):
        raise reason
    if holds_movie(archive / job.target):
        text = f"{reason}; {archive / job.target}, archived before, stays as it is"
        raise ArchiveError(text) from reason
    return Job(Kind.FILE, job.source, target)


def why_plain(path: Path) -> str | None:
    """Return why an archive holds a plain file called like a movie; None if the file is not called so.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if not is_movie_name(path.name) or is_reference_name(path.name):
        return None
    try:
        MrcMovie(path).close()
    except FormatError as error:
        return reason_of(error, path)
    return "a movie that does not become smaller, or that no run has archived yet"


def reason_of(error: Exception, path: Path) -> str:
    """Return the reason alone: without the file name before it and the remedy behind it."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]


def remove_plain_copy(archived: Path, plain: Path, lists: ChecksumLists) -> None:
    """Remove the plain copy of a movie that is archived now, together with its checksum.

    Raises
    ------
    ArchiveError
        It is not what was copied; it stays.
    """
    if plain.is_symlink():
        # stored by a run before the movie was
        plain.unlink()
        durable.sync_folder(plain.parent)
    elif durable.regular_file(plain) is not None:
        held = held_movie(archived)
        with plain.open("rb") as file:
            sha256 = file_sha256(file.fileno())
        if sha256 not in (lists.recorded(plain), held and held.original.sha256):
            text = f"{plain}: changed since it was copied, so it stays; mounts show {archived.name} in its place"
            raise ArchiveError(f"{text}; compare them, then remove or rename it")
        plain.unlink()
        durable.sync_folder(plain.parent)
        update(plain.parent, {plain.name: None})
    elif lists.recorded(plain) is not None:
        # a run was killed before it removed the line
        update(plain.parent, {plain.name: None})
