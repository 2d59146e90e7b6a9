"""Can this user read an archive, and is all there that its movies need: checks of `cryofs doctor`.

Looks at names, permissions and records. Nothing is decoded: `cryofs verify` does that. Of a large archive a sample is
taken: some files of each folder, spread evenly.
"""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.archive.eer_checks import EerCheck, check_eers
from cryofs.config.settings import FILE_NAME, load_settings
from cryofs.doctor.finding import Finding, ok, problem, warning
from cryofs.errors import GainError, SettingsError
from cryofs.formats.archive_names import is_own_name, is_reference_name
from cryofs.formats.record import Gain, Record
from cryofs.movies.eer_gain import defects_of
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.registry import identify
from cryofs.storage.atomic_file import DRAFT_PREFIX
from cryofs.system.mount_table import MOUNT_TABLE, is_far, mount_of, mount_table

FOLDERS = 1000
FILES_OF_A_FOLDER = 50


@dataclass
class Survey:
    """What was seen of an archive.

    Attributes
    ----------
    looked_at : int
        How many files were looked at; links and the like are none.
    more : bool
        Whether there are files or folders that were passed over, to be done sooner.
    """

    folders: int = 0
    looked_at: int = 0
    more: bool = False
    unreadable: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    drafts: list[Path] = field(default_factory=list)
    records: dict[Path, Record] = field(default_factory=dict)
    eers: list[Path] = field(default_factory=list)
    largest_file: int = 0

    @property
    def largest_frame(self) -> int:
        """Bytes of the largest frames seen, 0 without movies."""
        return max(map(_frame_bytes, self.records.values()), default=0)


def survey(archive: Path, folders: int = FOLDERS, files_of_a_folder: int = FILES_OF_A_FOLDER) -> Survey:
    """Look at an archive, at no more than so many folders and files of each."""
    seen = Survey()
    unlisted: list[OSError] = []
    for place, _, names in os.walk(archive, onerror=unlisted.append):
        if seen.folders == folders:
            seen.more = True
            break
        seen.folders += 1
        paths = [Path(place) / name for name in sorted(names)]
        seen.drafts += [path for path in paths if path.name.startswith(DRAFT_PREFIX)]
        references = [path for path in paths if is_reference_name(path.name)]
        others = [path for path in paths if path not in references and not is_own_name(path.name)]
        sample = _spread(others, files_of_a_folder)
        seen.more |= len(sample) < len(others)
        for path in [*references, *sample]:
            _look_at(path, seen)
    seen.unreadable += [Path(error.filename) for error in unlisted]
    return seen


def check_archive(archive: Path, table: Path = MOUNT_TABLE) -> list[Finding]:
    """All checks of an archive."""
    archive = archive.absolute()
    seen = survey(archive)
    return [
        check_readable(archive, seen),
        check_records(archive, seen),
        *check_eer_files(check_eers(seen.eers), seen.more),
        *check_references(archive, seen),
        check_settings(archive),
        check_drafts(seen),
        check_room(archive, seen.largest_file),
        check_file_system(archive, table),
    ]


def check_readable(archive: Path, seen: Survey) -> Finding:
    """Whether this user can read what was looked at."""
    if seen.unreadable:
        return problem(
            f"{_several(seen.unreadable, 'files or folders')} cannot be read by this user",
            f"as their owner: chmod -R u+rX,go+rX {archive}, or mount as a user who may read them",
        )
    sampled = " (a sample)" if seen.more else ""
    return ok(f"{archive}: readable, {seen.looked_at} files looked at in {seen.folders} folders{sampled}")


def check_records(archive: Path, seen: Survey) -> Finding:
    """Whether the records of archived movies are whole."""
    if seen.damaged:
        return problem(
            f"{_several(seen.damaged, 'movies')}: damaged",
            f"restore from a backup; cryofs verify {archive} names all of them",
        )
    if not seen.records and seen.eers:
        return ok("no archived movie was found, only EER files")
    if not seen.records:
        return warning("no archived movie was found", "name the folder that cryofs compress was given by -o")
    return ok(f"records of {len(seen.records)} movies: whole")


def check_eer_files(check: EerCheck, more: bool) -> list[Finding]:
    """Whether frames can be found in the EER files, as far as these were looked at; nothing without EER files."""
    if check.damaged:
        first = next(iter(check.damaged.values()))
        others = f"; {len(check.damaged) - 1} more EER files look damaged" if len(check.damaged) > 1 else ""
        return [
            warning(
                f"{first}{others}",
                "copy them again from their source or a backup; until then mounts show no X.mrc for them, and "
                "cryofs stats names each",
            )
        ]
    if not check.looked_at:
        return []
    sampled = " (a sample)" if more or check.looked_at < check.files else ""
    return [ok(f"EER files: frames found in all {check.looked_at} that were looked at{sampled}")]


def check_references(archive: Path, seen: Survey) -> list[Finding]:
    """Whether the gain references that records name are there, with the right content."""
    library = GainLibrary(archive)
    there: dict[Path, set[str]] = {}
    needed: dict[str, Gain] = {}
    missing: dict[str, list[Path]] = {}
    for path, record in seen.records.items():
        if (gain := record.needed_gain) is None:
            continue
        needed[gain.sha256] = gain
        if path.parent not in there:
            there[path.parent] = _sums(library, library.paths(path.parent))
        if gain.sha256 not in there[path.parent]:
            missing.setdefault(gain.sha256, []).append(path)
    if not missing:
        return [ok(f"gain references: all {len(needed)} that movies need are there, with the right sum")]
    return [
        problem(
            f"gain reference {needed[sha256].name} (sha256 {sha256[:8]}...): missing, changed or not readable; "
            f"needed by {_several(movies, 'movies')}",
            f"put the right file back into {archive}, from a backup",
        )
        for sha256, movies in missing.items()
    ]


def check_settings(archive: Path) -> Finding:
    """Whether the settings of the archive can be used."""
    path = archive / FILE_NAME
    try:
        gain = load_settings(archive, {}).eer_gain
    except SettingsError as error:
        return problem(str(error), f"correct {path}")
    if gain is not None and not os.access(gain, os.R_OK, effective_ids=True):
        return problem(f"{path}: its eer_gain {gain} is missing or not readable", "correct the path, or put it back")
    try:
        defects = defects_of(Path(gain)) if gain is not None else ""
    except GainError as error:
        return problem(str(error), f"correct eer_gain in {path}")
    if defects:
        return warning(defects, "give another gain reference, unless these pixels are known defects")
    return ok(f"{path}: valid" if path.exists() else f"{path}: none, so settings are the defaults")


def check_drafts(seen: Survey) -> Finding:
    """Whether interrupted runs left unfinished files."""
    left = [path for path in seen.drafts if _is_left(path)]
    if left:
        return warning(
            f"{_several(left, 'unfinished files')} of an interrupted run",
            "run its cryofs compress again with --only-do-unfinished, which removes them; or remove them by hand",
        )
    return ok("no unfinished files of interrupted runs")


def check_room(archive: Path, largest_file: int) -> Finding:
    """Whether there is room for one more movie."""
    free = shutil.disk_usage(archive).free
    what = f"{archive}: {free / 1e9:.1f} GB free"
    if free < 2 * largest_file:
        return warning(
            f"{what}, and its largest movie takes {largest_file / 1e9:.1f} GB; more movies will fail",
            "make room before you archive more",
        )
    return ok(what)


def check_file_system(archive: Path, table: Path = MOUNT_TABLE) -> Finding:
    """Where the archive lies; small reads take long on some file systems."""
    mount = mount_of(Path(os.path.realpath(archive)), mount_table(table))
    kind = mount.kind if mount else "unknown"
    if is_far(kind):
        return ok(
            f"{archive}: on {kind}, where small reads take long, so a first listing may",
            "keep the index of mounts (~/.cache/cryofs), and give mounts a large --cache-size",
        )
    return ok(f"{archive}: on {kind}")


def _look_at(path: Path, seen: Survey) -> None:
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return
        seen.looked_at += 1
        seen.largest_file = max(seen.largest_file, found.st_size)
        path.open("rb").close()
        what = identify(path)
    except FileNotFoundError:
        return  # removed meanwhile
    except OSError:
        seen.unreadable.append(path)
        return
    if what.provider is not None and what.provider.checks_take_time:
        seen.eers.append(path)
    elif what.record is not None:
        seen.records[path] = what.record
    elif what.error is not None:
        seen.damaged.append(path)


def _is_left(draft: Path) -> bool:
    """Whether no run holds a draft any more; its run keeps it locked."""
    try:
        with draft.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sums(library: GainLibrary, paths: Iterable[Path]) -> set[str]:
    sums = set()
    for path in paths:
        with contextlib.suppress(OSError):
            sums.add(library.sha256(path))
    return sums


def _frame_bytes(record: Record) -> int:
    around = record.header.size + sum(blob.size for blob in record.trailing)
    return (record.original.bytes - around) // record.shape[0]


def _spread(paths: Sequence[Path], count: int) -> Sequence[Path]:
    step = -(-len(paths) // count) or 1
    return paths[::step]


def _several(paths: Sequence[Path], what: str) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more {what}"
