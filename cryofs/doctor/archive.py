"""Check permissions, records, gain references, settings and free space of an archive for `cryofs doctor`.

Unlike `cryofs verify`, the checks do not decode movies. In a large archive, they examine only evenly spaced files of
each folder.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.archive.eer_checks import EerCheck, check_eers
from cryofs.config.settings import FILE_NAME, load_settings
from cryofs.doctor.finding import Finding, ok, problem, warning
from cryofs.doctor.leftovers import Leftovers, check_leftovers, several
from cryofs.errors import GainError, SettingsError
from cryofs.formats.archive_names import is_own_name, is_reference_name
from cryofs.formats.record import Gain, Record
from cryofs.movies.eer_gain import defects_of
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.registry import identify
from cryofs.system.mount_table import MOUNT_TABLE, is_remote, mount_of, mount_table
from cryofs.text import size_text

FOLDERS = 1000
FILES_PER_FOLDER = 50


@dataclass
class Survey:
    """Facts about the examined files of an archive.

    Attributes
    ----------
    files : int
        Number of regular files examined.
    sampled : bool
        Whether some files or folders were skipped to save time.
    """

    folders: int = 0
    files: int = 0
    sampled: bool = False
    unreadable: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    leftovers: Leftovers = field(default_factory=Leftovers)
    records: dict[Path, Record] = field(default_factory=dict)
    eers: list[Path] = field(default_factory=list)
    largest_file: int = 0

    @property
    def largest_frame(self) -> int:
        """Size of the largest frame in bytes, or 0 if there are no movies."""
        return max(map(_frame_bytes, self.records.values()), default=0)


def survey(archive: Path, folders: int = FOLDERS, files_per_folder: int = FILES_PER_FOLDER) -> Survey:
    """Examine at most `folders` folders, and at most `files_per_folder` files of each, and return the facts."""
    seen = Survey()
    unlisted: list[OSError] = []
    for place, _, names in os.walk(archive, onerror=unlisted.append):
        if seen.folders == folders:
            seen.sampled = True
            break
        seen.folders += 1
        paths = [Path(place) / name for name in sorted(names)]
        seen.leftovers.add_folder(paths)
        references = [path for path in paths if is_reference_name(path.name)]
        others = [path for path in paths if path not in references and not is_own_name(path.name)]
        sample = _evenly_spaced(others, files_per_folder)
        seen.sampled |= len(sample) < len(others)
        for path in [*references, *sample]:
            _examine(path, seen)
    seen.unreadable += [*seen.leftovers.unreadable, *(Path(error.filename) for error in unlisted)]
    return seen


def check_archive(archive: Path, table: Path = MOUNT_TABLE) -> list[Finding]:
    """Return the findings of all checks of an archive."""
    archive = archive.absolute()
    seen = survey(archive)
    return [
        check_readable(archive, seen),
        check_records(archive, seen),
        *check_eer_files(check_eers(seen.eers), seen.sampled),
        *check_references(archive, seen),
        check_settings(archive),
        *check_leftovers(archive, seen.leftovers),
        check_room(archive, seen.largest_file),
        check_file_system(archive, table),
    ]


def check_readable(archive: Path, seen: Survey) -> Finding:
    """Check that this user can read the examined files."""
    if seen.unreadable:
        return problem(
            f"{several(seen.unreadable, 'files or folders')} not readable by this user",
            f"as their owner: chmod -R u+rX,go+rX {archive}, or mount as a user with read permission",
        )
    sampled = " (a sample)" if seen.sampled else ""
    return ok(f"{archive}: readable, {seen.files} files in {seen.folders} folders checked{sampled}")


def check_records(archive: Path, seen: Survey) -> Finding:
    """Check that the records of the examined movies are intact, and that the archive has movies."""
    if seen.damaged:
        return problem(
            f"{several(seen.damaged, 'movies')}: damaged",
            f"restore from a backup; list all damaged movies with cryofs verify {archive}",
        )
    if not seen.records and seen.eers:
        return ok("no archived movies found, only EER files")
    if not seen.records:
        return warning("no archived movies found", "pass the folder that cryofs compress wrote (-o)")
    return ok(f"records of {len(seen.records)} movies: intact")


def check_eer_files(check: EerCheck, sampled: bool) -> list[Finding]:
    """Check that the examined EER files have frames; return no findings if there are no EER files."""
    if check.damaged:
        first = next(iter(check.damaged.values()))
        others = f"; {len(check.damaged) - 1} more EER files look damaged" if len(check.damaged) > 1 else ""
        return [
            warning(
                f"{first}{others}",
                "copy the files again from their source or a backup, because mounts show no X.mrc for damaged "
                "EER files; "
                "list them with cryofs stats",
            )
        ]
    if not check.looked_at:
        return []
    note = " (a sample)" if sampled or check.looked_at < check.files else ""
    return [ok(f"EER files: frames found in all {check.looked_at} checked files{note}")]


def check_references(archive: Path, seen: Survey) -> list[Finding]:
    """Check that the gain references named in records exist and have the recorded checksums."""
    library = GainLibrary(archive)
    available: dict[Path, set[str]] = {}
    needed: dict[str, Gain] = {}
    missing: dict[str, list[Path]] = {}
    for path, record in seen.records.items():
        if (gain := record.needed_gain) is None:
            continue
        needed[gain.sha256] = gain
        if path.parent not in available:
            available[path.parent] = _sums(library, library.paths(path.parent))
        if gain.sha256 not in available[path.parent]:
            missing.setdefault(gain.sha256, []).append(path)
    if not missing:
        return [ok(f"gain references: {len(needed)} needed, none missing or changed")]
    return [
        problem(
            f"gain reference {needed[sha256].name} (sha256 {sha256[:8]}...): missing, changed or not readable; "
            f"needed by {several(movies, 'movies')}",
            f"restore the file in {archive} from a backup",
        )
        for sha256, movies in missing.items()
    ]


def check_settings(archive: Path) -> Finding:
    """Check the settings file of an archive, and the gain reference that it names."""
    path = archive / FILE_NAME
    try:
        settings = load_settings(archive, {})
    except SettingsError as error:
        return problem(str(error), f"correct {path}")
    gain = settings.eer_gain
    if gain is not None and not os.access(gain, os.R_OK, effective_ids=True):
        return problem(f"{path}: eer_gain {gain} is missing or not readable", "correct the path, or restore the file")
    try:
        defects = defects_of(Path(gain), settings.eer_gain_convention) if gain is not None else ""
    except GainError as error:
        return problem(str(error), f"correct eer_gain in {path}")
    if defects:
        return warning(defects, "use another gain reference, unless these pixels are known defects")
    return ok(f"{path}: valid" if path.exists() else f"{path}: not present, so all settings have their defaults")


def check_room(archive: Path, largest_file: int) -> Finding:
    """Check that the free space is sufficient for another movie of the largest size."""
    free = shutil.disk_usage(archive).free
    what = f"{archive}: {size_text(free)} free"
    if free < 2 * largest_file:
        return warning(
            f"{what}, but the largest movie takes {size_text(largest_file)}, so that archiving may fail",
            "free some space before archiving more movies",
        )
    return ok(what)


def check_file_system(archive: Path, table: Path = MOUNT_TABLE) -> Finding:
    """Check that small reads are fast on the file system of the archive."""
    mount = mount_of(Path(os.path.realpath(archive)), mount_table(table))
    kind = mount.kind if mount else "unknown"
    if is_remote(kind):
        return ok(
            f"{archive}: on {kind}, where small reads are slow, so the first listing may be slow",
            "keep the index of mounts (~/.cache/cryofs), and mount with a large --cache-size",
        )
    return ok(f"{archive}: on {kind}")


def _examine(path: Path, seen: Survey) -> None:
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return
        seen.files += 1
        seen.largest_file = max(seen.largest_file, found.st_size)
        path.open("rb").close()
        content = identify(path)
    except FileNotFoundError:
        return  # removed by another process
    except OSError:
        seen.unreadable.append(path)
        return
    if content.provider is not None and content.provider.checks_take_time:
        seen.eers.append(path)
    elif content.record is not None:
        seen.records[path] = content.record
    elif content.error is not None:
        seen.damaged.append(path)


def _sums(library: GainLibrary, paths: Iterable[Path]) -> set[str]:
    sums = set()
    for path in paths:
        with contextlib.suppress(OSError):
            sums.add(library.sha256(path))
    return sums


def _frame_bytes(record: Record) -> int:
    other_bytes = record.header.size + sum(blob.size for blob in record.trailing)
    return (record.original.bytes - other_bytes) // record.shape[0]


def _evenly_spaced(paths: Sequence[Path], count: int) -> Sequence[Path]:
    step = -(-len(paths) // count) or 1
    return paths[::step]
