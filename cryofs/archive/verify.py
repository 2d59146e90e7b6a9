"""Verifying archives and taking originals out of them."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryofs.archive import durable
from cryofs.archive.adopt import check_adopted, restore_adopted
from cryofs.archive.check import original_bytes
from cryofs.archive.sources import Job, Kind, collect_archived
from cryofs.errors import ArchiveError, CryofsError, DamagedError
from cryofs.formats.foreign_tiff import NoMovieError
from cryofs.formats.record import is_archived
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.movies.foreign import ForeignMovie
from cryofs.movies.gain import GainLibrary
from cryofs.movies.names import TIFF_SUFFIXES, is_reference_name, original_name
from cryofs.remedies import explain

OnFrame = Callable[[int], None]
Begin = Callable[[str, int], None]
OnFile = Callable[[Path, Exception | None], None]


@dataclass
class Checked:
    """Figures of a run over archived files; `without_record` are TIFF movies of other programs."""

    movies: int = 0
    failed: int = 0
    files: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    without_record: int = 0


def verify(paths: Iterable[Path], jobs: int, on_file: OnFile, begin: Begin, on_frame: OnFrame) -> Checked:
    """Decode archived movies and check every frame, the whole file and the TIFF structure against the record.

    Files that are no archived movies have nothing to be checked against and are passed over, unless they were named;
    TIFF movies of other programs among them are counted.
    """
    checked = Checked()
    paths = list(paths)
    found = _collect(paths, checked, on_file)
    begin("verifying", sum(map(_frame_count, found)))
    gains = GainLibrary()
    with ThreadPoolExecutor(jobs) as pool:
        for job in found:
            with _told(job.source, checked, on_file), _opened(job, gains, pool) as movie:
                if movie is None:
                    if job.kind is Kind.FILE and job.source in paths:
                        raise DamagedError(f"{job.source}: no archived movie, so there is nothing to verify it against")
                    checked.without_record += _is_foreign_movie(job)
                    continue
                if movie.record.adopted is not None:
                    check_adopted(movie)
                    _check_reference(movie, gains)
                else:
                    check_pages(movie)
                _feed(movie, lambda _: None, on_frame)
                _count(checked, movie)
                on_file(job.source, None)
    return checked


def extract(
    paths: Iterable[Path], folder: Path, jobs: int, on_file: OnFile, begin: Begin, on_frame: OnFrame
) -> Checked:
    """Restore originals below a folder: movies from archived ones, with times and mode; other files are copied.

    The archive's own gain references are left out, unless TIFF movies of other programs need them.
    An existing file is replaced only once the restored one is complete and has the recorded SHA-256.
    """
    checked = Checked()
    found = _collect(paths, checked, on_file)
    begin("restoring", sum(map(_frame_count, found)))
    gains = GainLibrary()
    with ThreadPoolExecutor(jobs) as pool:
        for job in found:
            if job.kind is Kind.FOLDER:
                (folder / job.target).mkdir(parents=True, exist_ok=True)
                durable.remove_stale_drafts(folder / job.target)
                continue
            with _told(job.source, checked, on_file), _opened(job, gains, pool) as movie:
                target = folder / job.target
                target.parent.mkdir(parents=True, exist_ok=True)
                if movie is not None:
                    if movie.record.adopted is None:
                        target = target.with_name(original_name(target.name) or target.name)
                    _restore(movie, target, on_frame)
                    _count(checked, movie)
                elif job.kind is Kind.LINK:
                    durable.copy_link(job.source, target)
                elif is_reference_name(job.source.name) and not _holds_tiffs(found):
                    continue
                else:
                    durable.copy_file(job.source, target)
                    checked.files += 1
                on_file(job.source, None)
    for job in reversed(found):
        if job.kind is Kind.FOLDER:
            durable.copy_times(job.source, folder / job.target)
    return checked


def _collect(paths: Iterable[Path], checked: Checked, on_file: OnFile) -> list[Job]:
    found, problems = collect_archived(paths)
    for problem in problems:
        checked.failed += 1
        on_file(problem.source, problem.error)
    return found


def _restore(movie: ArchivedMovie, target: Path, on_frame: OnFrame) -> None:
    original = movie.record.original
    with durable.draft(target) as made:
        if movie.record.adopted is not None:
            restore_adopted(movie, made.file)
            on_frame(movie.layout.frames)
        else:
            _feed(movie, made.write, on_frame)
        os.fchmod(made.file.fileno(), original.mode)
        with durable.naming(target):
            made.file.flush()
        os.utime(made.file.fileno(), ns=(original.atime_ns, original.mtime_ns))
        made.sync()
        made.publish()


def _check_reference(movie: ArchivedMovie, gains: GainLibrary) -> None:
    """Raise GainError where the gain reference that an adopted movie needs is gone."""
    if (gain := movie.record.needed_gain) is not None:
        gains.get(gain.sha256, movie.path.parent, movie.name)


def _feed(movie: ArchivedMovie, take: Callable[[memoryview], object], on_frame: OnFrame) -> None:
    """Hand out the bytes of the original, which are summed meanwhile where the sum of the whole is known."""
    recorded = movie.record.original.sha256
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1, "sums") as beside:
        for piece in original_bytes(movie):
            data = memoryview(piece) if isinstance(piece, bytes) else piece.data
            summed = beside.submit(digest.update, data) if recorded else None
            take(data)
            if summed is not None:
                summed.result()
            if not isinstance(piece, bytes):
                on_frame(1)
    if recorded not in (None, digest.hexdigest()):
        raise DamagedError(
            f"{movie.name}: the restored file has another SHA-256 than recorded; restore it from a backup"
        )


def _is_archived_movie(job: Job) -> bool:
    if job.kind is not Kind.FILE or not job.source.name.endswith(TIFF_SUFFIXES):
        return False
    with job.source.open("rb") as file:
        return is_archived(file.fileno(), os.fstat(file.fileno()).st_size, str(job.source))


def _is_foreign_movie(job: Job) -> bool:
    """Whether a file is a TIFF movie of another program, be it cut short."""
    if job.kind is not Kind.FILE or not job.source.name.endswith(TIFF_SUFFIXES):
        return False
    try:
        ForeignMovie(job.source).close()
    except NoMovieError:
        return False
    except DamagedError:
        return True
    return True


def _holds_tiffs(jobs: list[Job]) -> bool:
    """Whether there are TIFF movies of other programs, adopted or not: the gain references are theirs then."""
    return any(_is_foreign_movie(job) for job in jobs if original_name(job.source.name) is None)


def _frame_count(job: Job) -> int:
    """Frames of the archived movie that a file holds, 0 where it holds none or a damaged one."""
    with contextlib.suppress(CryofsError, OSError):
        if _is_archived_movie(job):
            with ArchivedMovie(job.source, GainLibrary()) as movie:
                return movie.layout.frames
    return 0


@contextlib.contextmanager
def _opened(job: Job, gains: GainLibrary, pool: ThreadPoolExecutor) -> Iterator[ArchivedMovie | None]:
    """The archived movie that a file holds, None where it holds none."""
    if not _is_archived_movie(job):
        yield None
        return
    with ArchivedMovie(job.source.absolute(), gains, pool) as movie:
        yield movie


@contextlib.contextmanager
def _told(source: Path, checked: Checked, on_file: OnFile) -> Iterator[None]:
    """Turn errors into a failed file, so that the run goes on with the next."""
    try:
        yield
    except CryofsError as error:
        checked.failed += 1
        on_file(source, error)
    except OSError as error:
        checked.failed += 1
        on_file(source, ArchiveError(explain(error, source)))


def _count(checked: Checked, movie: ArchivedMovie) -> None:
    checked.movies += 1
    checked.original_bytes += movie.record.original.bytes
    checked.stored_bytes += movie.stored_bytes
