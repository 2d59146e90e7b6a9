"""Taking originals out of archives."""

import contextlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cryofs.archive.progress import Begin, OnFile, OnFrame, told
from cryofs.archive.restore import Extracted, Restorer
from cryofs.archive.scan import Job, Kind, collect_archived, is_below
from cryofs.archive.shown import restored_name
from cryofs.archive.verify import Checked
from cryofs.errors import ArchiveError
from cryofs.formats.archive_names import is_reference_name
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.provider import Stored
from cryofs.movies.registry import identify
from cryofs.storage import atomic_file


@dataclass(frozen=True)
class _Item:
    """What is to be restored, with the target that it gets; `frames` is None for what is no archived movie."""

    job: Job
    frames: int | None = None
    is_tiff: bool = False


def extract(
    paths: Iterable[Path],
    folder: Path,
    jobs: int,
    on_file: OnFile,
    begin: Begin,
    on_frame: OnFrame,
    *,
    overwrite: bool = False,
) -> Extracted:
    """Restore originals below a folder: movies from archived ones, with times and mode; other files are copied.

    The archive's own gain references are left out, unless TIFF movies of other programs need them.
    A file or link that exists already is left as it is if it is equal, and reported as failed if it is not. With
    `overwrite` it is replaced, once the restored file is complete and has the recorded SHA-256. An archived file is
    never replaced.

    Raises
    ------
    ArchiveError
        The folder lies in one that is to be extracted, so that it would be taken for a part of it the next time.
    """
    paths = list(paths)
    for path in paths:
        if is_below(folder, path):
            raise ArchiveError(f"{folder}: lies in {path}, which is extracted; name another folder with -o")
    checked = Extracted()
    found = _items(paths, checked, on_file)
    items = _without_clashes(_needed(_beside_archived(found, folder, checked, on_file)), folder, checked, on_file)
    begin("restoring", sum(item.frames or 0 for item in items))
    gains = GainLibrary()
    # where this cannot be made, nothing can be restored
    atomic_file.make_folders(folder)

    @cache
    def ready(below: Path) -> Path:
        """A folder for what is restored, cleared of what killed runs left."""
        place = atomic_file.make_folders(folder, below)
        if below != Path() and not os.access(place, os.W_OK | os.X_OK):
            # an earlier run gave it the mode of a folder that cannot be written; in the end it gets that again
            place.chmod(place.stat().st_mode | 0o700)
        atomic_file.remove_stale_drafts(place)
        return place

    made: list[Job] = []
    with ThreadPoolExecutor(jobs) as pool:
        restorer = Restorer(gains, pool, checked, on_frame, overwrite=overwrite)
        for item in items:
            job = item.job
            with told(job.source, checked, on_file):
                if job.kind is Kind.FOLDER:
                    ready(job.target)
                    made.append(job)
                    continue
                target = ready(job.target.parent) / job.target.name
                restore = restorer.link if job.kind is Kind.LINK else restorer.file
                if (restore if item.frames is None else restorer.movie)(job.source, target):
                    on_file(job.source, None)
    for job in reversed(made):
        # the folder that was named keeps its own mode
        if job.target != Path():
            with told(job.source, checked, on_file):
                atomic_file.copy_times(job.source, folder / job.target)
    return checked


def _items(paths: Iterable[Path], checked: Checked, on_file: OnFile) -> list[_Item]:
    """All that is in the archives, but for damaged movies and what cannot be read, which are told."""
    jobs, problems = collect_archived(paths, keep_links=True)
    for problem in problems:
        checked.failed += 1
        on_file(problem.source, problem.error)
    items = []
    for job in jobs:
        with told(job.source, checked, on_file):
            what = identify(job.source) if job.kind is Kind.FILE else Stored()
            if what.error is not None and not what.is_foreign:
                raise what.error
            if what.record is None:
                items.append(_Item(job, is_tiff=what.is_foreign))
            else:
                target = job.target.with_name(restored_name(job.target.name, what.record))
                is_tiff = what.record.adopted is not None
                items.append(_Item(replace(job, target=target), what.record.shape[0], is_tiff))
    return items


def _needed(items: list[_Item]) -> list[_Item]:
    """Without the archive's own gain references, unless there are TIFF movies of other programs, which need them."""
    if any(item.is_tiff for item in items):
        return items
    return [item for item in items if item.job.kind is not Kind.FILE or not is_reference_name(item.job.source.name)]


def _beside_archived(items: list[_Item], folder: Path, checked: Checked, on_file: OnFile) -> list[_Item]:
    """Without what would overwrite an archived file, which is told, and copies of what is in its place already."""
    read = {name for item in items if item.job.kind is not Kind.FOLDER for name in _names(item.job.source)}
    kept = []
    for item in items:
        job, target = item.job, folder / item.job.target
        if job.kind is Kind.FOLDER:
            kept.append(item)
        elif item.frames is None and _name(target) == _name(job.source):
            continue
        else:
            with told(job.source, checked, on_file):
                if _name(target) in read or _is_archived(target):
                    text = f"{target}: is archived, so {job.source} is not restored over it"
                    raise ArchiveError(f"{text}; name another folder with -o")
                kept.append(item)
    return kept


def _name(path: Path) -> Path:
    """The one name of what may be reached by links of folders; a link by itself is not followed."""
    return Path(os.path.realpath(path.parent)) / path.name


def _names(source: Path) -> tuple[Path, Path]:
    """Names that a source would be lost by: its own, and that of the file that it leads to."""
    return _name(source), Path(os.path.realpath(source))


def _is_archived(path: Path) -> bool:
    """Whether a file has a record; none that cannot be looked at does."""
    with contextlib.suppress(OSError):
        return path.is_file() and identify(path).record is not None
    return False


def _without_clashes(items: list[_Item], folder: Path, checked: Checked, on_file: OnFile) -> list[_Item]:
    """Each target once; of files that would become one, the first is kept and the others are told.

    Movies come before files, as in a mount, which shows the movie where both have the name.
    """
    kept: dict[Path, _Item] = {}
    for item in sorted(items, key=lambda item: item.frames is None):
        job = item.job
        twin = kept.setdefault(job.target, item).job
        if twin is job or twin.kind is job.kind is Kind.FOLDER:
            continue
        with told(job.source, checked, on_file):
            if not _same(twin, job):
                place = folder / job.target
                text = f"{job.source}: {twin.source} already becomes {place}; extract it into another folder"
                raise ArchiveError(text)
    return list(kept.values())


def _same(one: Job, other: Job) -> bool:
    """Whether both restore the same: a file by two names, links that say the same."""
    if Kind.LINK in (one.kind, other.kind):
        return one.kind is other.kind and one.source.readlink() == other.source.readlink()
    return one.source.samefile(other.source)
