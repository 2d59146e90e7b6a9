"""Check what commands that change an archive left in it: locks, journals, drafts, hidden files, two files of a name."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryofs.archive.twins import counting
from cryofs.doctor.finding import Finding, ok, problem, warning
from cryofs.errors import CryofsError
from cryofs.formats.archive_names import archived_name, archived_path, is_movie_name
from cryofs.ingest.hidden import KEPT_SECONDS
from cryofs.movies.twins import Counts, conflict
from cryofs.storage.archive_lock import holders, is_of_this_boot
from cryofs.storage.atomic_file import DRAFT_PREFIX, is_stale
from cryofs.storage.hidden_files import HIDDEN_PREFIX
from cryofs.storage.journal import JOURNAL_NAME, Journal, read_journal


@dataclass
class Leftovers:
    """Files that commands left in an archive, or need while they run.

    Attributes
    ----------
    conflicts : list of Path
        Plain files beside an archived movie of which neither counts.
    copies : list of Path
        Plain files whose archived movie counts, without a step in the journal.
    journals : list of Path
        Journals with steps that are under way or were interrupted.
    unreadable : list of Path
        Journals that cannot be read.
    """

    drafts: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    conflicts: list[Path] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    journals: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    def add_folder(self, paths: Sequence[Path]) -> None:
        """Examine the files of a folder."""
        self.drafts += [path for path in paths if path.name.startswith(DRAFT_PREFIX)]
        self.hidden += [path for path in paths if path.name.startswith(HIDDEN_PREFIX)]
        names = {path.name for path in paths}
        lines = self._read_journal(paths[0].with_name(JOURNAL_NAME)) if JOURNAL_NAME in names else None
        for path in paths:
            if is_movie_name(path.name) and archived_name(path.name) in names:
                # damaged movies and unreadable files are reported by other checks
                with contextlib.suppress(CryofsError, OSError):
                    self._add_twin(path, lines)

    def _read_journal(self, journal: Path) -> Journal | None:
        try:
            lines = read_journal(journal.parent)
        except (CryofsError, OSError):
            self.unreadable.append(journal)
            return None
        if lines.bad or any(line.step != "kept" for line in lines.lines):
            self.journals.append(journal)
        return lines

    def _add_twin(self, plain: Path, journal: Journal | None) -> None:
        counts = counting(plain)
        if counts is Counts.NEITHER:
            self.conflicts.append(plain)
        elif counts is Counts.ARCHIVED and not (journal and journal.about(plain.name, archived_name(plain.name))):
            self.copies.append(plain)


def check_leftovers(archive: Path, found: Leftovers) -> list[Finding]:
    """Return the findings about an archive that commands change, or changed."""
    held = list(holders(archive))
    is_changed = any(holder.is_exclusive for holder in held)
    locks = [
        ok(f"{archive}: in use by {holder.text}")
        if is_of_this_boot(holder)
        else warning(
            f"{archive}: in use by {holder.text}, on another machine",
            "if it no longer runs, pass --break-lock to the next command that changes the archive",
        )
        for holder in held
    ]
    return [
        *locks,
        *check_conflicts(found),
        *check_hidden(archive, found.hidden),
        *([] if is_changed else check_steps(archive, found)),
        check_drafts(found.drafts),
    ]


def check_conflicts(found: Leftovers) -> list[Finding]:
    """Check for names of which a plain file and an archived movie exist and differ."""
    return [
        problem(
            str(conflict(path, archived_path(path))).partition("; ")[0],
            "compare both files, then rename or remove one of them",
        )
        for path in found.conflicts
    ]


def check_steps(archive: Path, found: Leftovers) -> list[Finding]:
    """Check for interrupted steps and needless copies; called only if no command is changing the archive."""
    findings = []
    if found.journals:
        what = f"{several(found.journals, 'journals')} of interrupted steps"
        findings.append(warning(what, f"recover with cryofs ingest {archive}"))
    if found.copies:
        what = f"{several(found.copies, 'plain files')}: an archived movie with the same size and time counts"
        findings.append(warning(what, f"remove those with equal bytes: cryofs ingest {archive}"))
    return findings


def check_hidden(archive: Path, hidden: Sequence[Path], now: float | None = None) -> list[Finding]:
    """Check for hidden originals, which are removed or restored after a day."""
    now = time.time() if now is None else now
    old = [path for path in hidden if _changed(path) + KEPT_SECONDS < now]
    young = [path for path in hidden if path not in old]
    findings = []
    if old:
        findings.append(
            warning(
                f"{several(old, 'hidden files')}: originals hidden for more than a day",
                f"remove them, or restore those that changed: cryofs ingest {archive}",
            )
        )
    if young:
        findings.append(
            ok(f"{several(young, 'hidden files')}: originals that cryofs ingest keeps for a day, or restores")
        )
    return findings


def check_drafts(drafts: Sequence[Path]) -> Finding:
    """Check that no unfinished files of interrupted runs remain."""
    stale = [path for path in drafts if _is_stale(path)]
    if stale:
        return warning(
            f"{several(stale, 'unfinished files')} of an interrupted run",
            "repeat cryofs compress with --only-do-unfinished, which removes these files, or delete them",
        )
    return ok("no unfinished files of interrupted runs")


def several(paths: Sequence[Path], noun: str) -> str:
    """Return the first of some files, and the number of the others."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more {noun}"


def _changed(path: Path) -> float:
    """Return when a file was last changed or renamed; infinite if it is gone."""
    try:
        return path.lstat().st_ctime
    except OSError:
        return float("inf")


def _is_stale(draft: Path) -> bool:
    """Return True if no run uses a draft."""
    try:
        return is_stale(draft)
    except OSError:
        return False
