"""List the files that a verification checks: archived movies, and other files with recorded checksums."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryofs.archive.identify import holds_movie
from cryofs.archive.progress import Counting, OnFile, report_errors
from cryofs.archive.scan import Job, Kind, collect_archived
from cryofs.config.settings import FILE_NAME
from cryofs.errors import DamagedError
from cryofs.execution.parts import WHOLE, Part
from cryofs.formats.archive_names import archived_path, is_movie_name
from cryofs.movies.registry import identify
from cryofs.storage import checksum_lists
from cryofs.storage.checksum_lines import Lines
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.storage.hashing import OnBytes, hash_file


class Figures(Counting, Protocol):
    """Counts of files in a verification."""

    without_file: int


@dataclass(frozen=True)
class StoredMovie:
    """An archived movie to verify; `root` is the folder that the user passed, or None if the user passed a file."""

    path: Path
    bytes: int
    root: Path | None


@dataclass(frozen=True)
class StoredFile:
    """A file and its recorded checksum."""

    path: Path
    sha256: str


@dataclass
class Inventory:
    """Files to verify below a path; `root` is this path if it is a folder, otherwise None.

    Attributes
    ----------
    elsewhere : int
        Number of files that other parts of the verification check.
    """

    path: Path
    root: Path | None = None
    movies: list[StoredMovie] = field(default_factory=list)
    files: list[StoredFile] = field(default_factory=list)
    unchecked: list[Path] = field(default_factory=list)
    without_record: int = 0
    failed: int = 0
    elsewhere: int = 0
    bytes: int = 0

    @property
    def has_nothing(self) -> bool:
        """True for a folder in which no file has a checksum and no file failed."""
        return self.root is not None and not (self.movies or self.files or self.failed or self.elsewhere)


def take_inventory(path: Path, figures: Figures, on_file: OnFile, part: Part = WHOLE) -> Inventory:
    """Return the files of a part below a path; report missing files, invalid lines and unreadable records as failed."""
    failed_before = figures.failed
    jobs, problems = collect_archived([path])
    for problem in (problem for problem in problems if part.has(problem.source)):
        figures.failed += 1
        on_file(problem.source, problem.error)
    root = path.absolute() if any(job.kind is Kind.FOLDER for job in jobs) else None
    found = Inventory(path, root)
    lists: dict[Path, Lines] = {}
    for job in jobs:
        with report_errors(job.source, figures, on_file):
            if job.kind is Kind.FOLDER:
                lists[job.source] = _list_of(job.source, job.target, figures, on_file, part)
            elif job.kind is Kind.FILE and not part.has(job.target):
                found.elsewhere += 1
            elif job.kind is Kind.FILE:
                _sort(job, lists, found)
    found.failed = figures.failed - failed_before
    return found


def is_intact(file: StoredFile, on_bytes: OnBytes) -> bool:
    """Return True if the checksum of a file equals the recorded one.

    Returns
    -------
    bool
        False if the checksum was removed meanwhile because another run is replacing the file.

    Raises
    ------
    DamagedError
        The checksum differs.
    """
    expected: str | None = file.sha256
    while True:
        found = hash_file(file.path, on_bytes).sha256
        if found == expected:
            return True
        # a run may have replaced the file and its line after the list was read
        recorded = checksum_lists.recorded(_real(file.path))
        if recorded is None:
            return False
        if recorded == expected:
            raise checksum_lists.mismatch_error(file.path, expected, found)
        expected = recorded


def _list_of(folder: Path, target: Path, figures: Figures, on_file: OnFile, part: Part) -> Lines:
    """Return the checksum list of a folder; report its invalid lines and missing files as failed."""
    lines = checksum_lists.load(folder)
    for line in lines.bad if part.has(target / LIST_NAME) else ():
        figures.failed += 1
        on_file(folder / LIST_NAME, checksum_lists.bad_line_error(folder, line))
    for name in lines.sums:
        path = folder / name
        # a run may have removed the file and its line since the list was read
        if not part.has(target / name):
            continue
        if not _is_present(path) and checksum_lists.recorded(path) is not None:
            figures.failed += 1
            figures.without_file += 1
            text = f"{path}: missing, but listed in {LIST_NAME}; restore the file from a backup, or remove the line"
            on_file(path, DamagedError(text))
    return lines


def _is_present(path: Path) -> bool:
    """Return True if a file exists, or an archived movie replaced it before a killed run removed its line."""
    archived = archived_path(path)
    return os.path.lexists(path) or (is_movie_name(path.name) and holds_movie(archived))


def _sort(job: Job, lists: dict[Path, Lines], found: Inventory) -> None:
    """Add a file to an inventory as a movie, a file with a checksum, or an unchecked file."""
    path, what = job.source, identify(job.source)
    sha256 = _recorded(path, lists)
    if what.record is not None:
        found.movies.append(StoredMovie(path, what.size, found.root))
        found.bytes += what.size
    if sha256 is not None:
        found.files.append(StoredFile(path, sha256))
        found.bytes += path.stat().st_size
    elif what.error is not None:
        raise what.error
    elif what.record is None:
        if found.root is None:
            text = f"{path}: not an archived movie, and no recorded checksum"
            raise DamagedError(f"{text}; pass the archive, or record a checksum with cryofs adopt")
        # links are not followed, because the target is checked under its own name
        if not path.is_symlink() and has_line(found.root, path.absolute()):
            found.unchecked.append(path)
            found.without_record += what.is_foreign


def _recorded(path: Path, lists: dict[Path, Lines]) -> str | None:
    if path.parent in lists:
        return lists[path.parent].sums.get(path.name)
    return checksum_lists.recorded(_real(path))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def has_line(root: Path, target: Path) -> bool:
    """Return True if checksum lists cover a file of the archive at `root`: every file except its cryofs.toml."""
    return target != root / FILE_NAME
