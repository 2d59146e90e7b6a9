"""Restore the originals of archived files."""

import contextlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cryofs.archive.own_references import is_own_reference
from cryofs.archive.progress import Begin, OnFile, OnFrame, report_errors, report_failure
from cryofs.archive.restore import Extracted, Restorer
from cryofs.archive.scan import Job, Kind, collect_archived, is_below
from cryofs.archive.shown import restored_name
from cryofs.archive.verify import Checked
from cryofs.errors import ArchiveError
from cryofs.execution.executor import Report
from cryofs.execution.messages import Done, Failed
from cryofs.execution.parts import WHOLE, Part
from cryofs.execution.threads import InTurn
from cryofs.formats.archive_names import is_reference_name
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.provider import Stored
from cryofs.movies.registry import identify
from cryofs.storage import atomic_file, changes, folders


@dataclass(frozen=True)
class _Item:
    """A job to restore a file, link or folder, with items from the record of an archived movie.

    Attributes
    ----------
    frames : int or None
        Number of frames of an archived movie; None for other files.
    gain : str or None
        SHA-256 of the gain reference of an archived movie; None for movies without one and for other files.
    """

    job: Job
    frames: int | None = None
    gain: str | None = None


def extract(
    paths: Iterable[Path],
    folder: Path,
    jobs: int,
    on_file: OnFile,
    begin: Begin,
    on_frame: OnFrame,
    *,
    overwrite: bool = False,
    part: Part = WHOLE,
) -> Extracted:
    """Restore originals below a folder: decode archived movies, copy all other files, and set times and modes.

    Gain references that cryofs estimated or stored for its own movies are not restored; gain references that came with
    TIFF movies of other programs are. A target that already exists is kept if it equals the original, and otherwise
    reported as failed. With `overwrite`, an existing target is replaced after the restored file is complete and its
    SHA-256 equals the recorded one. Archived files are never replaced.

    Parameters
    ----------
    part : Part
        The part of the files to restore; each part creates all folders.

    Raises
    ------
    ArchiveError
        The target folder is inside an archive to extract, so the next extraction would include it.
    """
    paths = list(paths)
    for path in paths:
        if is_below(folder, path):
            raise ArchiveError(f"{folder}: is inside the archive to extract ({path}); pass another folder with -o")
    checked = Extracted()
    found = _items(paths, checked, on_file)
    items = _without_clashes(_needed(_beside_archived(found, folder, checked, on_file)), folder, checked, on_file)
    items = [item for item in items if item.job.kind is Kind.FOLDER or part.has(item.job.target)]
    begin("restoring", sum(item.frames or 0 for item in items))
    # before any file, because without the target folder nothing can be restored
    folders.make_folders(folder)
    made: list[Job] = []
    with ThreadPoolExecutor(jobs) as pool:
        restorer = Restorer(GainLibrary(), pool, checked, on_frame, overwrite=overwrite)
        for item, outcome in InTurn().run(_Extraction(folder, restorer).restore, items):
            match outcome:
                case Done() if item.job.kind is Kind.FOLDER:
                    made.append(item.job)
                case Done(True):
                    on_file(item.job.source, None)
                case Failed(error):
                    report_failure(item.job.source, error, checked, on_file)
    for job in reversed(made):
        # the folder that the user passed keeps its mode
        if job.target != Path():
            with report_errors(job.source, checked, on_file):
                folders.copy_times(job.source, folder / job.target)
    return checked


class _Extraction:
    """Restoration of files below a folder, which prepares each subfolder once."""

    def __init__(self, folder: Path, restorer: Restorer):
        self._folder = folder
        self._restorer = restorer
        self._ready: dict[Path, Path] = {}

    def restore(self, item: _Item, _: Report) -> bool:
        """Restore a file, link or folder; return False if the target was already there, or is a folder."""
        job = item.job
        if job.kind is Kind.FOLDER:
            self._prepared(job.target)
            return False
        target = self._prepared(job.target.parent) / job.target.name
        if item.frames is not None:
            return self._restorer.movie(job.source, target)
        return (self._restorer.link if job.kind is Kind.LINK else self._restorer.file)(job.source, target)

    def _prepared(self, below: Path) -> Path:
        """Make a folder below the target folder writable, remove the drafts of killed runs, and return its path."""
        if below not in self._ready:
            place = folders.make_folders(self._folder, below)
            if below != Path() and not os.access(place, os.W_OK | os.X_OK):
                # an earlier run may have made the folder read-only like its original; the mode is set again at the end
                changes.disk.set_mode(place, place.stat().st_mode | 0o700)
            atomic_file.remove_stale_drafts(place)
            self._ready[below] = place
        return self._ready[below]


def _items(paths: Iterable[Path], checked: Checked, on_file: OnFile) -> list[_Item]:
    """Return the items to restore from some paths; report damaged movies and unreadable files as failed."""
    jobs, problems = collect_archived(paths, keep_links=True)
    for problem in problems:
        checked.failed += 1
        on_file(problem.source, problem.error)
    items = []
    for job in jobs:
        with report_errors(job.source, checked, on_file):
            what = identify(job.source) if job.kind is Kind.FILE else Stored()
            if what.error is not None and not what.is_foreign:
                raise what.error
            if what.record is None:
                items.append(_Item(job))
            else:
                target = job.target.with_name(restored_name(job.target.name, what.record))
                gain = what.record.gain.sha256 if what.record.gain else None
                items.append(_Item(replace(job, target=target), what.record.shape[0], gain))
    return items


def _needed(items: list[_Item]) -> list[_Item]:
    """Return all items except the gain references of cryofs."""
    own = {item.gain for item in items}

    def is_left_out(item: _Item) -> bool:
        is_reference = item.job.kind is Kind.FILE and is_reference_name(item.job.source.name)
        return is_reference and is_own_reference(item.job.source, own.__contains__)

    return [item for item in items if not is_left_out(item)]


def _beside_archived(items: list[_Item], folder: Path, checked: Checked, on_file: OnFile) -> list[_Item]:
    """Return the items without plain files that are their own targets; report targets that are archived files."""
    read = {name for item in items if item.job.kind is not Kind.FOLDER for name in _names(item.job.source)}
    kept = []
    for item in items:
        job, target = item.job, folder / item.job.target
        if job.kind is Kind.FOLDER:
            kept.append(item)
        elif item.frames is None and _name(target) == _name(job.source):
            continue
        else:
            with report_errors(job.source, checked, on_file):
                if _name(target) in read or _is_archived(target):
                    text = f"{target}: is a file of the archive, which {job.source} would replace"
                    raise ArchiveError(f"{text}; pass another folder with -o")
                kept.append(item)
    return kept


def _name(path: Path) -> Path:
    """Return a path with all links resolved except one in its last component."""
    return Path(os.path.realpath(path.parent)) / path.name


def _names(source: Path) -> tuple[Path, Path]:
    """Return the paths that must not be replaced: that of a source, and that of the file it links to."""
    return _name(source), Path(os.path.realpath(source))


def _is_archived(path: Path) -> bool:
    """Return True if a path leads to a file with a valid record."""
    with contextlib.suppress(OSError):
        return path.is_file() and identify(path).record is not None
    return False


def _without_clashes(items: list[_Item], folder: Path, checked: Checked, on_file: OnFile) -> list[_Item]:
    """Return one item for each target; report the others as failed.

    A movie takes precedence over a file of the same name, as in a mount.
    """
    kept: dict[Path, _Item] = {}
    for item in sorted(items, key=lambda item: item.frames is None):
        job = item.job
        twin = kept.setdefault(job.target, item).job
        if twin is job or twin.kind is job.kind is Kind.FOLDER:
            continue
        with report_errors(job.source, checked, on_file):
            if not _same(twin, job):
                place = folder / job.target
                text = f"{job.source}: name already taken by {twin.source} ({place})"
                raise ArchiveError(f"{text}; extract this file into another folder")
    return list(kept.values())


def _same(one: Job, other: Job) -> bool:
    """Return True if both jobs restore the same file, or links with the same text."""
    if Kind.LINK in (one.kind, other.kind):
        return one.kind is other.kind and one.source.readlink() == other.source.readlink()
    return one.source.samefile(other.source)
