"""Adopting TIFF movies of other programs: each gets a record behind its last byte, so that it can be verified.

The TIFF is copied, never written to: the copy gets the record, is read back whole, decoded by the code that readers
use, and takes the place of the TIFF in one step. The bytes of the TIFF stay as they were at the beginning of the file.
"""

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cryofs.archive import durable
from cryofs.archive.check import original_bytes
from cryofs.archive.durable import Draft, draft
from cryofs.archive.sources import Job, Kind, collect_archived
from cryofs.errors import ArchiveError, ChangedError, CryofsError, DamagedError, FormatError
from cryofs.formats import record
from cryofs.formats.foreign_tiff import NoMovieError
from cryofs.formats.reading import read_up_to
from cryofs.formats.record import Adopted, Frame, Gain, Original, Record
from cryofs.formats.sums import file_sha256, quick_sum
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.movies.foreign import ForeignMovie
from cryofs.movies.gain import GainLibrary
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.names import TIFF_SUFFIXES, foreign_name, printable
from cryofs.version import VERSION

_CHUNK = 8 << 20

OnFile = Callable[[Path, Exception | None], None]
OnFrame = Callable[[int], None]


@dataclass
class Adoption:
    """Figures of a run; bytes are those of the movies adopted, before and after."""

    movies: int = 0
    skipped: int = 0
    failed: int = 0
    tiff_bytes: int = 0
    stored_bytes: int = 0


def adopt(
    paths: Iterable[Path], jobs: int, on_file: OnFile, begin: Callable[[str, int], None], on_frame: OnFrame
) -> Adoption:
    """Adopt all TIFF movies of some files, lists or folders that have no record yet.

    Other files are passed over, unless they were named. Links are not followed.
    """
    done = Adoption()
    paths = list(paths)
    found, problems = collect_archived(paths)
    for problem in problems:
        done.failed += 1
        on_file(problem.source, problem.error)
    wanted = [job.source for job in found if _is_wanted(job, paths)]
    begin("adopting", len(wanted))
    gains = GainLibrary()
    for folder in {path.parent for path in wanted}:
        with contextlib.suppress(OSError):
            durable.remove_stale_drafts(folder)
    with ThreadPoolExecutor(jobs) as pool:
        for path in wanted:
            try:
                stored = _adopt(path, gains, pool)
            except NoMovieError as error:
                if path in paths:
                    done.failed += 1
                    on_file(path, error)
            except CryofsError as error:
                done.failed += 1
                on_file(path, error)
            except OSError as error:
                done.failed += 1
                on_file(path, ArchiveError(f"{error.filename or path}: {error.strerror}"))
            else:
                if stored is None:
                    done.skipped += 1
                else:
                    done.movies += 1
                    done.tiff_bytes += stored[0]
                    done.stored_bytes += stored[1]
                    on_file(path, None)
            on_frame(1)
    return done


def _is_wanted(job: Job, paths: list[Path]) -> bool:
    if job.kind is not Kind.FILE or job.source.is_symlink():
        return False
    return job.source.name.endswith(TIFF_SUFFIXES) or job.source in paths


def _adopt(path: Path, gains: GainLibrary, pool: ThreadPoolExecutor) -> tuple[int, int] | None:
    """Give a movie its record; its size before and after, None where it has one."""
    with path.open("rb") as file:
        if record.is_archived(file.fileno(), os.fstat(file.fileno()).st_size, str(path)):
            return None
    with ForeignMovie(path) as movie, draft(path) as made:
        _check_adoptable(movie)
        before = movie.stat
        sha256 = _copy(path, made)
        if made.file.tell() != before.st_size:
            raise ChangedError(f"{path}: changed while it was copied; try again once it is written")
        contents = _append_record(movie, made, sha256, _reference(movie, gains), pool)
        os.fchmod(made.file.fileno(), stat.S_IMODE(before.st_mode))
        with contextlib.suppress(PermissionError):
            # only root may give files away
            os.fchown(made.file.fileno(), before.st_uid, before.st_gid)
        # what is still to be written would change the times
        made.file.flush()
        os.utime(made.file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        made.sync()
        _check(made, contents, pool)
        movie.check_unchanged()
        made.publish()
        return before.st_size, os.fstat(made.file.fileno()).st_size


def _check_adoptable(movie: ForeignMovie) -> None:
    layout, facts = movie.index.layout, movie.index.facts
    if facts.packed or layout.dtype.byteorder == ">":
        what = "two values a byte" if facts.packed else "big-endian pixels"
        raise FormatError(
            f"{movie.name}: {what}, which records do not describe; it is shown by mounts without a record"
        )


def _copy(path: Path, made: Draft) -> str:
    """Copy the TIFF; SHA-256 of what was read."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while piece := source.read(_CHUNK):
            digest.update(piece)
            made.file.write(piece)
    return digest.hexdigest()


def _reference(movie: ForeignMovie, gains: GainLibrary) -> Gain | None:
    """The nearest gain reference of the movie's size."""
    for path in gains.paths(movie.path.absolute().parent):
        with contextlib.suppress(CryofsError, OSError), MrcMovie(path) as reference:
            if reference.shape == (1, *movie.shape[1:]):
                return Gain(gains.sha256(path), printable(path.name))
    return None


def _append_record(
    movie: ForeignMovie, made: Draft, sha256: str, reference: Gain | None, pool: ThreadPoolExecutor
) -> Record:
    """Decode all frames, and write the header and the record behind the copy."""
    frames = list(pool.map(lambda index: _frame(movie, index), range(movie.layout.frames)))
    header, stored = record.deflate_blob(movie.header)
    header = msgspec.structs.replace(header, offset=made.file.tell())
    made.file.write(stored)
    layout, found = movie.index.layout, movie.stat
    contents = Record(
        original=Original(
            name=printable(foreign_name(movie.path.name) or movie.path.name),
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
        adopted=Adopted(printable(movie.path.name), found.st_size, sha256, reference),
    )
    made.file.write(record.encode_record(contents, made.file.tell()))
    return contents


def _frame(movie: ForeignMovie, index: int) -> Frame:
    offsets, byte_counts = movie.index.pages[index].lists()
    strips = movie.stored_frame(index)
    raw = movie.piece(movie.kept_frame(index, stored=strips), 0, movie.layout.frame_bytes)
    strip_sums = [quick_sum(strip) for strip in strips.values()]
    return Frame(quick_sum(raw), offsets, byte_counts, strip_sums)


def _check(made: Draft, contents: Record, pool: ThreadPoolExecutor) -> None:
    """Read the copy back, as any reader would: the record, all frames, and the bytes of the TIFF."""
    with ArchivedMovie(made.path, GainLibrary(), pool, name=str(made.target)) as copy:
        if copy.record != contents:
            raise ArchiveError(f"{made.target}: the record came back changed from the disk; check the disk")
        check_adopted(copy)
        for _ in original_bytes(copy):
            pass


def check_adopted(movie: ArchivedMovie) -> None:
    """Check that the TIFF is, byte for byte, the one that was adopted, and that readers find its strips.

    Raises
    ------
    DamagedError
        It is another.
    """
    assert movie.record.adopted is not None
    check_pages(movie)
    if file_sha256(movie.descriptor, movie.record.adopted.bytes) != movie.record.adopted.sha256:
        raise DamagedError(f"{movie.name}: the TIFF has another SHA-256 than recorded; restore it from a backup")


def restore_adopted(movie: ArchivedMovie, file: io.BufferedRandom) -> None:
    """Write the TIFF as it was before it was adopted; errors as those of `check_adopted`."""
    assert movie.record.adopted is not None
    digest, left, offset = hashlib.sha256(), movie.record.adopted.bytes, 0
    while left and (piece := read_up_to(movie.descriptor, min(left, _CHUNK), offset)):
        digest.update(piece)
        file.write(piece)
        left, offset = left - len(piece), offset + len(piece)
    if digest.hexdigest() != movie.record.adopted.sha256:
        raise DamagedError(f"{movie.name}: the TIFF has another SHA-256 than recorded; restore it from a backup")
