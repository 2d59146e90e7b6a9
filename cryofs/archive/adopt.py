"""Adopt files that cryofs did not archive, so that `cryofs verify` can check them.

A TIFF movie of another program gets a record after its last byte; every other file gets a line in a checksum list. The
TIFF file itself is never written to. A copy of it gets the record, is read back completely, is decoded by the code that
readers use, and replaces the original by a rename. The copy begins with the unchanged bytes of the TIFF file.
"""

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cryofs.archive.adopted import check_adopted
from cryofs.archive.changing import changing
from cryofs.archive.frame_stream import original_bytes
from cryofs.archive.progress import Begin, OnFile, OnFrame, report_errors
from cryofs.archive.record_checksums import record_checksums
from cryofs.archive.scan import Job, Kind, collect_archived
from cryofs.config.settings import FILE_NAME
from cryofs.errors import ArchiveError, ChangedError, CryofsError
from cryofs.formats import record
from cryofs.formats.archive_names import is_own_name
from cryofs.formats.blob import deflate_blob
from cryofs.formats.record import Adopted, Frame, Gain, Original, Record
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import identify, shown_name
from cryofs.movies.tiff import ForeignMovie
from cryofs.storage import atomic_file, changes, checksum_lists
from cryofs.storage.archive_lock import Activity
from cryofs.storage.atomic_file import Draft, draft
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import ListReader
from cryofs.storage.checksums import xxh3_checksum
from cryofs.storage.file_copy import copy_owner
from cryofs.storage.file_state import state_of
from cryofs.storage.leases import check_no_writer
from cryofs.text import as_unicode
from cryofs.version import VERSION

_CHUNK = 8 << 20

# Called with a gain reference and the first movie whose record names it.
OnReference = Callable[[Path, Path], None]


@dataclass
class Adoption:
    """Results of a run of `cryofs adopt`.

    Attributes
    ----------
    movies : int
        Number of TIFF movies that got a record.
    files : int
        Number of other files that got a checksum.
    skipped : int
        Number of movies that already had a record.
    tiff_bytes, stored_bytes : int
        Total size of the adopted movies before and after adoption, in bytes.
    """

    movies: int = 0
    files: int = 0
    skipped: int = 0
    failed: int = 0
    tiff_bytes: int = 0
    stored_bytes: int = 0


def adopt(
    paths: Iterable[Path],
    jobs: int,
    on_file: OnFile,
    begin: Begin,
    on_done: OnFrame,
    on_reference: OnReference,
    on_note: Callable[[str], object] = lambda _: None,
    *,
    break_lock: bool = False,
) -> Adoption:
    """Add a record to each TIFF movie, and record a checksum for each other file.

    Files that already have a record or a checksum are skipped. Links are not followed.

    Parameters
    ----------
    on_done : callable
        Called with the number of files that were processed; `begin` receives the total.
    on_note : callable
        Called with messages of a recovery.
    break_lock : bool
        Whether commands on other machines that hold the lock of the archive do not count.

    Raises
    ------
    ArchiveError
        Another command excludes changes of the archive.
    """
    done = Adoption()
    paths = list(paths)
    roots = {path if path.is_dir() else path.parent for path in paths}
    with contextlib.ExitStack() as stack:
        for root in sorted(roots):
            if root.is_dir() and not any(parent in roots for parent in root.parents):
                stack.enter_context(_times_kept(root))
                stack.enter_context(changing(root, Activity.ADOPT, on_note, break_lock=break_lock))
        _adopt_all(paths, jobs, done, on_file, begin, on_done, on_reference)
    return done


@contextlib.contextmanager
def _times_kept(folder: Path) -> Iterator[None]:
    """Restore the times of a folder at the end of the context, because mounts show the times of the original folder."""
    before = folder.stat()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            changes.disk.set_times(folder, before.st_atime_ns, before.st_mtime_ns)


def _adopt_all(
    paths: list[Path],
    jobs: int,
    done: Adoption,
    on_file: OnFile,
    begin: Begin,
    on_done: OnFrame,
    on_reference: OnReference,
) -> None:
    found, problems = collect_archived(paths)
    for problem in problems:
        done.failed += 1
        on_file(problem.source, problem.error)
    wanted = [job.source for job in found if _is_wanted(job, paths)]
    begin("adopting", len(wanted))
    with contextlib.ExitStack() as stack:
        for folder in {path.parent for path in wanted}:
            stack.enter_context(_times_kept(folder))
            with contextlib.suppress(OSError):
                atomic_file.remove_stale_drafts(folder)
        references: dict[Path, Path] = {}
        others = list(_adopt_movies(wanted, jobs, done, on_file, on_done, references))
        for reference, movie in references.items():
            on_reference(reference, movie)
        record_checksums(others, jobs, done, on_file, on_done)


def _is_wanted(job: Job, paths: list[Path]) -> bool:
    if job.kind is not Kind.FILE or is_own_name(job.source.name):
        return False
    # the settings of an archive get no checksum, because users edit them
    return job.source in paths or not (job.source.is_symlink() or job.target == Path(FILE_NAME))


def _adopt_movies(
    paths: list[Path], jobs: int, done: Adoption, on_file: OnFile, on_done: OnFrame, references: dict[Path, Path]
) -> Iterator[Path]:
    """Adopt the TIFF movies among some files; yield the other files, which need a checksum.

    Parameters
    ----------
    references : dict
        Filled with each gain reference and the first movie whose record names it.
    """
    gains = GainLibrary()
    lists = ListReader()
    with ThreadPoolExecutor(jobs) as pool:
        for path in paths:
            with report_errors(path, done, on_file):
                _refuse_link(path)
                what = identify(path)
                if what.record is not None:
                    done.skipped += 1
                elif what.is_foreign and what.error is None and _can_be_adopted(path):
                    before, after = _adopt(path, gains, pool, references)
                    done.movies += 1
                    done.tiff_bytes += before
                    done.stored_bytes += after
                    on_file(path, None)
                elif lists.recorded(path) is None:
                    if what.error is not None:
                        raise what.error
                    yield path
                    continue
            on_done(1)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise ArchiveError(f"{path}: symbolic links cannot be adopted; pass the target of the link")


def _can_be_adopted(path: Path) -> bool:
    """Return True if a record can describe this TIFF movie; if not, only its checksum is recorded."""
    with ForeignMovie(path) as movie:
        return movie.index.recorded_layout is not None


def _adopt(path: Path, gains: GainLibrary, pool: ThreadPoolExecutor, references: dict[Path, Path]) -> tuple[int, int]:
    """Add a record to a movie; return the size of the file before and after, in bytes."""
    with (
        path.open("rb") as file,
        ForeignMovie(path, source=LocalFile(file.fileno(), str(path), is_owned=False)) as movie,
        draft(path) as made,
    ):
        before = movie.stat
        check_no_writer(file.fileno(), path)
        _copy_attributes(file.fileno(), before, made)
        sha256 = _copy(file, made)
        if made.file.tell() != before.st_size:
            raise ChangedError(f"{path}: changed while it was copied; retry once the file is complete")
        if (known := checksum_lists.recorded(path)) not in (None, sha256):
            raise checksum_lists.mismatch_error(path, known, sha256)
        found = _reference(movie, gains)
        contents = _append_record(movie, made, sha256, found and found[1], pool)
        # the times are set last, because every write changes them
        made.file.flush()
        changes.disk.set_times(made.file.fileno(), before.st_atime_ns, before.st_mtime_ns)
        made.sync()
        _check(made, contents, pool)
        check_no_writer(file.fileno(), path)
        _check_in_place(path, before)
        # the record replaces the checksum line
        with checksum_lists.replacing(path):
            made.publish()
        if found:
            references.setdefault(found[0], path)
        return before.st_size, os.fstat(made.file.fileno()).st_size


def _check_in_place(path: Path, before: os.stat_result) -> None:
    """Raise ChangedError if the file at the path was removed, replaced or changed after it was copied."""
    try:
        now = path.lstat()
    except FileNotFoundError as error:
        raise ChangedError(f"{path}: removed while it was adopted; restore the file and rerun cryofs adopt") from error
    if state_of(now) != state_of(before):
        raise ChangedError(f"{path}: replaced or changed while it was adopted; retry once the file is complete")


def _copy_attributes(descriptor: int, before: os.stat_result, made: Draft) -> None:
    """Copy owner, mode and extended attributes of the TIFF file to the draft.

    Raises
    ------
    ArchiveError
        The draft cannot replace the TIFF file, because that file has hard links or its owner cannot be set.
    """
    if before.st_nlink > 1:
        text = f"{made.target}: unsupported number of hard links (expected 1, got {before.st_nlink})"
        raise ArchiveError(f"{text}; copy the file, then adopt the copy")
    copy = made.file.fileno()
    try:
        copy_owner(before, copy)
    except PermissionError as error:
        text = f"{made.target}: cannot set the owner of the adopted file (uid {before.st_uid}, gid {before.st_gid})"
        raise ArchiveError(f"{text}; rerun cryofs adopt as that user or as root") from error
    changes.disk.set_mode(copy, stat.S_IMODE(before.st_mode))
    try:
        names = os.listxattr(descriptor)
    except OSError:
        return  # the file system does not support extended attributes
    # other namespaces belong to the system and the file system
    for name in names:
        if name.startswith(("user.", "system.")):
            changes.disk.set_attribute(copy, name, os.getxattr(descriptor, name))


def _copy(source: io.BufferedReader, made: Draft) -> str:
    """Copy the TIFF file to the draft; return the SHA-256 of the copied bytes."""
    digest = hashlib.sha256()
    while piece := source.read(_CHUNK):
        digest.update(piece)
        made.file.write(piece)
    return digest.hexdigest()


def _reference(movie: ForeignMovie, gains: GainLibrary) -> tuple[Path, Gain] | None:
    """Return the nearest gain reference with the size of the frames, or None if there is none."""
    for path in gains.paths(movie.path.absolute().parent):
        with contextlib.suppress(CryofsError, OSError), MrcMovie(path) as reference:
            if reference.shape == (1, *movie.shape[1:]):
                return path, Gain(gains.sha256(path), as_unicode(path.name))
    return None


def _append_record(
    movie: ForeignMovie, made: Draft, sha256: str, reference: Gain | None, pool: ThreadPoolExecutor
) -> Record:
    """Decode all frames, append the header and the record to the draft, and return the record."""
    frames = list(pool.map(lambda index: _frame(movie, index), range(movie.layout.frames)))
    header, stored = deflate_blob(movie.header)
    header = msgspec.structs.replace(header, offset=made.file.tell())
    made.file.write(stored)
    layout, found = movie.index.layout, movie.stat
    contents = Record(
        original=Original(
            name=as_unicode(shown_name(movie.path.name) or movie.path.name),
            bytes=movie.layout.total_bytes,
            sha256=None,
            mtime_ns=found.st_mtime_ns,
            atime_ns=found.st_atime_ns,
            mode=stat.S_IMODE(found.st_mode),
        ),
        header=header,
        trailing=[],
        shape=movie.shape,
        mrc_mode=movie.mrc_header.mode,
        byte_order="<",
        stored_dtype=layout.dtype.name,  # type: ignore[arg-type]
        compression=layout.codec.compression,
        predictor=layout.codec.predictor,
        rows_per_strip=layout.rows_per_strip,
        pixel_size=layout.pixel_size,
        gain=None,
        frames=frames,
        writer=f"cryofs {VERSION}",
        adopted=Adopted(as_unicode(movie.path.name), found.st_size, sha256, reference),
    )
    made.file.write(record.encode_record(contents, made.file.tell()))
    return contents


def _frame(movie: ForeignMovie, index: int) -> Frame:
    offsets, byte_counts = movie.index.pages[index].lists()
    encoded = movie.read_frame(index)
    raw = movie.mrc_bytes(encoded.decode(), 0, movie.layout.frame_bytes)
    strip_sums = [xxh3_checksum(strip) for strip in encoded.segments.values()]
    return Frame(xxh3_checksum(raw), offsets, byte_counts, strip_sums)


def _check(made: Draft, contents: Record, pool: ThreadPoolExecutor) -> None:
    """Read back the record, all frames and the TIFF bytes from the draft; raise an error on any mismatch."""
    source = LocalFile.open(made.path, str(made.target))
    with ArchivedMovie(made.path, GainLibrary(), pool, source) as copy:
        if copy.record != contents:
            raise ArchiveError(f"{made.target}: the record read back differs from the written one; check the disk")
        check_adopted(copy)
        for _ in original_bytes(copy):
            pass
