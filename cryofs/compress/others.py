"""Store the files of a run that are not archived as movies: plain copies, hard links and symbolic links."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cryofs.archive.identify import held_movie, holds_movie
from cryofs.archive.inventory import has_line
from cryofs.archive.jobs import Job, Kind
from cryofs.compress.copies import Copies
from cryofs.compress.existing import is_copy, refuse_clash, refuse_without_gain, refuse_written, replaced_text
from cryofs.compress.full_disk import is_full
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.summary import Listener, Summary
from cryofs.compress.suspects import damage_of
from cryofs.error_hints import explain, reason_of
from cryofs.errors import ArchiveError, CryofsError, FormatError, FullDiskError, UnsupportedError
from cryofs.formats.archive_names import archived_path, is_movie_name
from cryofs.movies.registry import unpackable_name
from cryofs.storage import atomic_file, file_links
from cryofs.storage.folders import make_writable


class Others:
    """Context manager that stores the files and links of a run that are not movies.

    Parameters
    ----------
    plain : mapping
        Jobs that make plain copies, each with the reason why the file is not archived as a movie.

    Attributes
    ----------
    undone : set of Job
        Files whose checksum could not be recorded because the disk is full.
    """

    def __init__(
        self,
        archive: Path,
        options: CompressOptions,
        summary: Summary,
        listener: Listener,
        plain: Mapping[Job, CryofsError],
    ):
        self._archive = archive
        self._options = options
        self._summary = summary
        self._listener = listener
        self._plain = plain
        self._copies = Copies(archive, self._count_copy, self._not_recorded)
        self._jobs: dict[Path, Job] = {}
        # the first copy of each file with several hard links, by device and inode
        self._named_before: dict[tuple[int, int], Path] = {}
        self._full: OSError | None = None
        self.undone: set[Job] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._copies.__exit__(kind, error, trace)
        if self._full is not None and error is None:
            raise FullDiskError(self._full.strerror)

    def store(self, job: Job) -> None:
        """Copy a file or store a link; report an error as a failed source.

        Raises
        ------
        OSError
            The disk is full.
        """
        target = self._archive / job.target
        try:
            if job.kind is Kind.LINK:
                self._store_link(job, target)
            else:
                self._store_file(job, target)
        except CryofsError as error:
            self._fail(job.source, error)
        except OSError as error:
            if is_full(error):
                raise
            self._fail(job.source, ArchiveError(f"{job.source}: not copied ({explain(error)})"))

    def _store_file(self, job: Job, target: Path) -> None:
        source = job.source
        first = self._first_name(source, target)
        make_writable(target.parent)
        if self._options.only_do_unfinished and self._copies.is_done(source, target):
            self._summary.up_to_date += 1
            self._summary.kept_plain += job in self._plain
            self._summary.packed += job not in self._plain and unpackable_name(source.name) is not None
            if self._options.strict and job not in self._plain:
                # only with `strict`, because this check reads part of every file again
                self._note_damage(source, damage_of(source))
            return
        held = None if is_copy(source, target) else atomic_file.regular_file(target)
        refuse_clash(source, target)
        refuse_without_gain(source)
        if held is not None and has_line(self._archive, target):
            refuse_written(source, target)
        reason = self._plain.get(job)
        damage = damage_of(source) if reason is None else None
        self._summary.packed += reason is None and damage is None and unpackable_name(source.name) is not None
        self._jobs[source] = job
        if first is None or not self._copies.link(source, first, target):
            self._copies.copy(source, target)
        if held is not None:
            self._summary.replaced += 1
            self._listener.note(replaced_text(target, held.st_size, held.st_mtime_ns))
        self._note_damage(source, damage)
        if reason is not None:
            self._summary.kept_plain += 1
            self._summary.suspect += isinstance(reason, FormatError) and not isinstance(reason, UnsupportedError)
            self._listener.note(f"{source}: kept as a plain copy ({reason_of(reason, source)})")

    def _note_damage(self, source: Path, damage: str | None) -> None:
        if damage is not None:
            self._summary.suspect += 1
            self._listener.note(f"{source}: looks damaged ({damage}); copied unchanged")

    def _first_name(self, source: Path, target: Path) -> Path | None:
        """Return the existing copy of a file under another of its hard links, or None."""
        found = source.lstat()
        if found.st_nlink < 2 or source.is_symlink():
            return None
        first = self._named_before.setdefault((found.st_dev, found.st_ino), target)
        return first if first != target and is_copy(source, first) else None

    def _store_link(self, job: Job, target: Path) -> None:
        if self._is_archived(job, target):
            self._summary.up_to_date += 1
            return
        movie = archived_path(target)
        if is_movie_name(target.name) and holds_movie(movie):
            text = f"{job.source}: name already taken by an archived movie ({movie}); rename the link"
            raise ArchiveError(f"{text}, or remove the movie")
        file_links.make_link(target, job.link or job.source.readlink())

    def _is_archived(self, job: Job, target: Path) -> bool:
        """Return True if an earlier run archived the target of a link under the name of the link."""
        if target.is_symlink() or (job.outside is not None and self._options.links == "keep"):
            return False
        movie = archived_path(target)
        if is_movie_name(target.name) and holds_movie(movie):
            return _is_original_of(movie, job.source)
        if not job.source.exists():
            return False
        return is_copy(job.source, target) or (job.outside is not None and target.is_dir() and job.source.is_dir())

    def _count_copy(self, source: Path) -> None:
        self._summary.copied += 1

    def _not_recorded(self, source: Path, error: Exception) -> None:
        if isinstance(error, OSError) and is_full(error):
            self._full = error
            self.undone.add(self._jobs[source])
            return
        if isinstance(error, OSError):
            error = ArchiveError(f"{source}: copied, but its checksum was not recorded ({explain(error)})")
        self._fail(source, error)

    def _fail(self, source: Path, error: Exception) -> None:
        self._summary.failed += 1
        self._listener.failed(source, error)


def _is_original_of(movie: Path, source: Path) -> bool:
    """Return True if a source has the size and time of the original of an archived movie."""
    try:
        held, found = held_movie(movie), source.stat()
    except (CryofsError, OSError):
        return False
    return held is not None and (held.original.bytes, held.original.mtime_ns) == (found.st_size, found.st_mtime_ns)
