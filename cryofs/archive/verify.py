"""Verifying archives: does every archived movie still give back its original."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryofs.archive.adopt import check_adopted
from cryofs.archive.frame_stream import original_bytes
from cryofs.archive.identify import Archived, Damaged, Foreign, classify
from cryofs.archive.progress import Begin, OnFile, OnFrame, told
from cryofs.archive.scan import Kind, collect_archived
from cryofs.errors import DamagedError, GainError
from cryofs.formats.archive_names import EER_SUFFIX
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.movies.gain_library import GainLibrary


@dataclass
class Checked:
    """Figures of a run over archived files.

    `without_record` are TIFF movies of other programs, `eer` are EER movies, which nothing is recorded of.
    """

    movies: int = 0
    failed: int = 0
    files: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    without_record: int = 0
    eer: int = 0

    def count(self, movie: ArchivedMovie) -> None:
        """Add a movie that is good."""
        self.movies += 1
        self.original_bytes += movie.record.original.bytes
        self.stored_bytes += movie.stored_bytes


@dataclass(frozen=True)
class _Found:
    """A movie to be verified; `root` is the folder that was named, None where the movie itself was."""

    path: Path
    frames: int
    root: Path | None


def verify(paths: Iterable[Path], jobs: int, on_file: OnFile, begin: Begin, on_frame: OnFrame) -> Checked:
    """Decode archived movies and check every frame, the whole file and the TIFF structure against the record.

    Files that are no archived movies have nothing to be checked against and are passed over, unless they were named,
    by themselves or in a list; TIFF movies of other programs among them are counted. What can be told to be damaged
    without a record is told.
    """
    checked = Checked()
    found = [one for path in paths for one in _movies(path, checked, on_file)]
    begin("verifying", sum(one.frames for one in found))
    gains = {root: GainLibrary(root) for root in {None, *(one.root for one in found)}}
    with ThreadPoolExecutor(jobs) as pool:
        for one in found:
            with (
                told(one.path, checked, on_file),
                ArchivedMovie(one.path.absolute(), gains[one.root], pool) as movie,
            ):
                if movie.record.adopted is not None:
                    check_adopted(movie)
                else:
                    check_pages(movie)
                _check_reference(movie, one.root, gains)
                feed(movie, lambda _: None, on_frame)
                checked.count(movie)
                on_file(one.path, None)
    return checked


def _movies(path: Path, checked: Checked, on_file: OnFile) -> list[_Found]:
    """Archived movies that a path stands for; what is damaged at first sight is told."""
    jobs, problems = collect_archived([path])
    for problem in problems:
        checked.failed += 1
        on_file(problem.source, problem.error)
    root = path.absolute() if any(job.kind is Kind.FOLDER for job in jobs) else None
    found = []
    for job in jobs:
        if job.kind is not Kind.FILE:
            continue
        with told(job.source, checked, on_file):
            what = classify(job.source)
            if isinstance(what, Archived):
                found.append(_Found(job.source, what.record.shape[0], root))
            elif isinstance(what, Damaged):
                raise what.error
            elif root is None:
                raise DamagedError(f"{job.source}: no archived movie, so there is nothing to verify it against")
            else:
                checked.without_record += isinstance(what, Foreign)
                checked.eer += job.source.suffix == EER_SUFFIX
    return found


def _check_reference(movie: ArchivedMovie, root: Path | None, gains: dict[Path | None, GainLibrary]) -> None:
    """Raise GainError where the gain reference that a movie needs is gone, or where a mount does not look for it."""
    if (gain := movie.record.needed_gain) is None:
        return
    try:
        gains[root].get(gain.sha256, movie.path.parent, movie.name)
    except GainError:
        if root is None:
            raise
        # the one that is not bound to a folder
        gains[None].get(gain.sha256, root.parent, movie.name)
        text = f"{movie.name}: its gain reference lies above {root}, where a mount of this folder does not look"
        raise GainError(f"{text}; copy it into the folder, or verify the whole archive") from None


def feed(movie: ArchivedMovie, take: Callable[[memoryview], object], on_frame: OnFrame) -> None:
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
