"""Verify archives: archived movies against their records, other files against checksum lists."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.archive.adopted import check_adopted
from cryofs.archive.frame_stream import original_bytes
from cryofs.archive.inventory import Inventory, StoredMovie, is_intact, take_inventory
from cryofs.archive.progress import Begin, OnFile, OnFrame, report_failure
from cryofs.errors import DamagedError, GainError
from cryofs.execution.executor import Report
from cryofs.execution.messages import Done, Failed, Progress
from cryofs.execution.parts import WHOLE, Part
from cryofs.execution.threads import InTurn, Threads
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.movies.gain_library import GainLibrary


@dataclass
class Checked:
    """Results of a verification or an extraction.

    Attributes
    ----------
    movies : int
        Number of archived movies that are intact or were restored.
    files : int
        Number of other files that are intact or were restored.
    failed : int
        Number of files that are damaged, missing or unreadable.
    original_bytes, stored_bytes : int
        Total sizes in bytes of the originals of `movies`, and of the archived movies.
    without_checksum : int
        Number of files without a record and without a line in a checksum list, which were not checked.
    without_record : int
        Number of TIFF movies of other programs included in `without_checksum`.
    without_file : int
        Number of lines of checksum lists whose file is missing; `failed` includes them.
    without_anything : list of Path
        Folders passed by the user in which no file has a checksum.
    """

    movies: int = 0
    failed: int = 0
    files: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    without_checksum: int = 0
    without_record: int = 0
    without_file: int = 0
    without_anything: list[Path] = field(default_factory=list)

    def count(self, movie: ArchivedMovie) -> None:
        """Add an intact or restored movie to the results."""
        self.movies += 1
        self.original_bytes += movie.record.original.bytes
        self.stored_bytes += movie.stored_bytes


def verify(
    paths: Iterable[Path],
    jobs: int,
    on_file: OnFile,
    begin: Begin,
    on_bytes: OnFrame,
    on_unchecked: Callable[[Path], object] = lambda _: None,
    part: Part = WHOLE,
) -> Checked:
    """Check all files that have a checksum, in files, lists or archives, and return the results.

    Archived movies are decoded, and every frame, the whole file and the TIFF structure are checked against the record.
    All other files are checked against the checksum list of their folder. A file without a checksum counts as failed if
    the user passed the file or a list that contains it, otherwise as unchecked. A line of a checksum list whose file is
    missing counts as failed.

    Parameters
    ----------
    on_bytes : callable
        Called with a number of stored bytes that were checked; `begin` receives the total.
    on_unchecked : callable
        Called with each file that has no checksum.
    part : Part
        The part of the files to check.
    """
    checked = Checked()
    inventories = [take_inventory(path, checked, on_file, part) for path in paths]
    for found in inventories:
        checked.without_checksum += len(found.unchecked)
        checked.without_record += found.without_record
        if found.has_nothing:
            checked.without_anything.append(found.path)
            continue
        for path in found.unchecked:
            on_unchecked(path)
    begin("verifying", sum(found.bytes for found in inventories))
    _verify_movies([movie for found in inventories for movie in found.movies], jobs, checked, on_file, on_bytes)
    _verify_files(inventories, jobs, checked, on_file, on_bytes, on_unchecked)
    return checked


def _verify_movies(movies: list[StoredMovie], jobs: int, checked: Checked, on_file: OnFile, on_bytes: OnFrame) -> None:
    """Verify movies one at a time; a thread pool decodes the strips of each movie."""
    gains = {root: GainLibrary(root) for root in {None, *(movie.root for movie in movies)}}
    with ThreadPoolExecutor(jobs) as pool:

        def check(one: StoredMovie, report: Report) -> None:
            with ArchivedMovie(one.path.absolute(), gains[one.root], pool) as movie:
                if movie.record.adopted is not None:
                    check_adopted(movie)
                else:
                    check_pages(movie)
                _check_reference(movie, one.root, gains)
                frame_bytes = one.bytes // movie.layout.frames
                feed(movie, lambda _: None, lambda frames: report(frames * frame_bytes))
                checked.count(movie)

        for one, outcome in InTurn().run(check, movies, _bytes_to(on_bytes)):
            match outcome:
                case Done():
                    on_file(one.path, None)
                case Failed(error):
                    report_failure(one.path, error, checked, on_file)


def _bytes_to(on_bytes: OnFrame) -> Callable[[Progress], None]:
    return lambda progress: on_bytes(progress.count)


def _verify_files(
    inventories: list[Inventory],
    jobs: int,
    checked: Checked,
    on_file: OnFile,
    on_bytes: OnFrame,
    on_unchecked: Callable[[Path], object],
) -> None:
    """Check files that are not archived movies, `jobs` at a time."""
    files = (file for found in inventories for file in found.files)
    with contextlib.closing(Threads(jobs).run(is_intact, files, _bytes_to(on_bytes))) as outcomes:
        for file, outcome in outcomes:
            match outcome:
                case Failed(error):
                    report_failure(file.path, error, checked, on_file)
                case Done(True):
                    checked.files += 1
                    on_file(file.path, None)
                case Done():
                    checked.without_checksum += 1
                    on_unchecked(file.path)


def _check_reference(movie: ArchivedMovie, root: Path | None, gains: dict[Path | None, GainLibrary]) -> None:
    """Raise GainError if a mount of `root` would not find the gain reference of a movie."""
    if (gain := movie.record.needed_gain) is None:
        return
    try:
        gains[root].get(gain.sha256, movie.path.parent, movie.name)
    except GainError:
        if root is None:
            raise
        # a library without a root also searches the folders above it
        gains[None].get(gain.sha256, root.parent, movie.name)
        text = f"{movie.name}: its gain reference is above {root}, where a mount of this folder does not find it"
        raise GainError(f"{text}; copy the reference into the folder, or verify the whole archive") from None


def feed(movie: ArchivedMovie, take: Callable[[memoryview], object], on_frame: OnFrame) -> None:
    """Pass the bytes of the original to `take`, in order, and the number of finished frames to `on_frame`.

    Raises
    ------
    DamagedError
        The SHA-256 of the whole file does not match the recorded one.
    """
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
                on_frame(data.nbytes // movie.layout.frame_bytes)
    if recorded is not None and recorded != (found := digest.hexdigest()):
        text = f"{movie.name}: checksum mismatch in the restored file"
        raise DamagedError(
            f"{text} (expected SHA-256 {recorded[:16]}..., got {found[:16]}...); restore the archive from a backup"
        )
