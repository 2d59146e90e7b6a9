"""A run of `cryofs compare`: compare every file of SOURCE with its counterpart in a mount of the archive.

With `remove_source`, a file is removed directly after it was found equal. Before that, all data needed to restore the
file are made durable and read from the disk, not from the page cache. A run may be killed at any moment: files that
were removed from SOURCE are in the archive, and the next run continues with the others.
"""

import contextlib
import errno
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryofs.archive import refusals
from cryofs.archive.compare_file import Comparer, Outcome, attribute_differences
from cryofs.archive.links import stays_inside
from cryofs.archive.pairs import Missing, Pair, Scan, Side, identity, part_of_scan, scan
from cryofs.archive.progress import as_cryofs_error
from cryofs.archive.remove_source import NotRemovedError, Remover
from cryofs.archive.settled import Settled
from cryofs.archive.shown import ShownKind, kind_of
from cryofs.archive.walking import Link
from cryofs.errors import CryofsError
from cryofs.execution.executor import Executor, Report
from cryofs.execution.messages import Done, Failed, Progress
from cryofs.execution.parts import WHOLE, Part
from cryofs.execution.threads import Threads
from cryofs.movies.gain_library import GainLibrary
from cryofs.system.mount_table import mount_table


@dataclass(frozen=True)
class CompareOptions:
    """Options of a comparison."""

    jobs: int = 1
    remove_source: bool = False
    trust_storage: bool = False
    part: Part = WHOLE


@dataclass(frozen=True)
class Finding:
    """A file that differs, could not be compared, or was not removed; with the reason."""

    path: Path
    reason: str


@dataclass
class Comparison:
    """Results of a run, which count files and links, and folders that differ or are missing.

    Attributes
    ----------
    equal : int
        Number of equal files and links, removed or not.
    not_removed : list of Finding
        Equal files, links and folders that could not be removed.
    links_outside : int
        Number of links that lead out of the archive, which therefore does not contain their targets.
    not_in_source : int
        Number of files of the archive that are not in SOURCE. With `remove_source`, an earlier run may have removed
        them, so they do not count as missing.
    """

    equal: int = 0
    removed: int = 0
    not_in_source: int = 0
    links_outside: int = 0
    differing: list[Finding] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    not_removed: list[Finding] = field(default_factory=list)
    failed: list[Finding] = field(default_factory=list)

    @property
    def all_equal(self) -> bool:
        """True if every file was found, is equal, and was removed if `remove_source` is set."""
        return not (self.differing or self.missing or self.not_removed or self.failed)


class Listener(Protocol):
    """Receiver of the progress of a run; several threads may call `advance`."""

    def begin(self, total_bytes: int) -> None:
        """Start the comparison of SOURCE, which has `total_bytes` bytes."""

    def advance(self, count: int) -> None:
        """Add `count` compared bytes."""

    def note(self, text: str) -> None:
        """Report that a file differs, is missing or was not removed."""

    def failed(self, error: Exception) -> None:
        """Report a file that could not be compared, with its error."""


def compare(source: Path, archive: Path, options: CompareOptions, listener: Listener) -> Comparison:
    """Compare a folder with an archive of it; remove equal files if `options.remove_source` is set.

    Raises
    ------
    ArchiveError
        SOURCE and ARCHIVE overlap, SOURCE is a mount of cryofs, or the storage of the archive is not reliable.
    """
    source, archive = source.absolute(), archive.absolute()
    mounts = mount_table()
    refusals.check_folders(source, archive, mounts)
    checks_storage = options.remove_source and not options.trust_storage
    if checks_storage:
        refusals.check_storage(archive, [], mounts)
    gains = GainLibrary(archive)
    settled = Settled(archive, gains, trusted=options.trust_storage) if options.remove_source else None
    found = scan(source, archive, settled.folder if settled else lambda _: None)
    if not options.part.is_whole:
        found = part_of_scan(found, options.part, source, archive)
    refusals.check_scan(found, mounts)
    if checks_storage:
        refusals.check_storage(archive, found.archive_folders.values(), mounts)
    remover = None
    if options.remove_source:
        refusals.check_links(found)
        remover = Remover(found.source_folders, lambda folder: refusals.leases_hold(folder, mounts))
    with ThreadPoolExecutor(options.jobs) as pool:
        comparer = Comparer(source, archive, gains, pool, settled, remover)
        result = _Run(archive, found, comparer, remover, listener).run(Threads(options.jobs, in_order=False))
    result.links_outside = sum(_leads_out(link, archive) for link in found.archive_links)
    return result


class _Run:
    """A comparison of all pairs of a scan, with its results."""

    def __init__(self, archive: Path, found: Scan, comparer: Comparer, remover: Remover | None, listener: Listener):
        self._archive = archive
        self._found = found
        self._comparer = comparer
        self._remover = remover
        self._listener = listener
        self._result = Comparison()

    def run(self, executor: Executor) -> Comparison:
        self._note_scan()
        pairs = [*self._found.links, *self._found.files]
        self._listener.begin(sum(map(_size, pairs)))
        if self._remover is not None:
            for link in self._found.unmatched_links:
                self._remover.hold(link)
        # links come first, because they cannot be compared after their targets are removed
        for pair in self._found.links:
            self._note(self._comparer.compare_link(pair, self._listener.advance))
        self._compare_files(executor)
        if self._remover is not None:
            self._remove_folders(self._remover)
        return self._result

    def _note_scan(self) -> None:
        for error in self._found.failed:
            self._fail(Path(), error)
        for missing in self._found.missing:
            if self._remover is not None and missing.side is Side.SOURCE:
                self._result.not_in_source += 1
                continue
            self._result.missing.append(missing)
            where = "the archive" if missing.side is Side.ARCHIVE else "SOURCE"
            reason = f" ({missing.reason})" if missing.reason else ""
            self._listener.note(f"{missing.path}: not in {where}{reason}")
        for pair in self._found.unlike:
            self._differ(pair, f"expected {pair.shown.kind.value}, got {kind_of(pair.state).value}")
        for pair in self._found.folders:
            if reasons := self._folder_differences(pair):
                self._differ(pair, "; ".join(reasons))
        for pair in self._found.followed:
            if self._remover is not None:
                self._leave(pair, "links to folders are kept; the files in the folder were compared")

    def _folder_differences(self, pair: Pair) -> list[str]:
        here, there = pair.state, pair.shown.found
        # removing a file changes the modification time of its folder
        mtime = there.st_mtime_ns if self._remover is None else here.st_mtime_ns
        return attribute_differences(here, there.st_mode, mtime, archive=self._archive)

    def _compare_files(self, executor: Executor) -> None:
        """Compare files; compare hard links of one file in sequence, because removing one changes the inode of all."""
        groups: dict[tuple[int, int], list[Pair]] = defaultdict(list)
        # the target of a link may also be a file of SOURCE, so it is compared before that file is removed
        for pair in sorted(self._found.files, key=lambda pair: not pair.behind_link):
            groups[identity(pair.state)].append(pair)
        with contextlib.closing(executor.run(self._compare_group, groups.values(), self._on_progress)) as outcomes:
            for group, outcome in outcomes:
                match outcome:
                    case Done(compared):
                        for one in compared:
                            self._note(one)
                    case Failed(error):
                        self._fail(group[0].source, as_cryofs_error(error, group[0].source))

    def _compare_group(self, group: list[Pair], report: Report) -> list[Outcome]:
        return [self._comparer.compare_file(pair, report) for pair in group]

    def _on_progress(self, progress: Progress) -> None:
        self._listener.advance(progress.count)

    def _remove_folders(self, remover: Remover) -> None:
        for pair in reversed(self._found.folders):
            if pair.behind_link or self._folder_differences(pair):
                continue
            try:
                remover.remove_folder(pair.source, pair.state)
            except NotRemovedError as error:
                self._leave(pair, str(error))
            except OSError as error:
                self._fail(pair.source, as_cryofs_error(error, pair.source))

    def _note(self, outcome: Outcome) -> None:
        pair = outcome.pair
        self._result.equal += outcome.equal
        self._result.removed += outcome.removed
        if outcome.differences:
            self._differ(pair, "; ".join(outcome.differences))
        if outcome.not_removed:
            self._leave(pair, outcome.not_removed)
        if outcome.error is not None:
            self._fail(pair.source, outcome.error)

    def _differ(self, pair: Pair, reason: str) -> None:
        self._result.differing.append(Finding(pair.source, reason))
        self._listener.note(f"{pair.source}: differs from the archive ({reason})")

    def _leave(self, pair: Pair, reason: str) -> None:
        self._result.not_removed.append(Finding(pair.source, reason))
        self._listener.note(f"{pair.source}: not removed ({reason})")

    def _fail(self, path: Path, error: CryofsError) -> None:
        self._result.failed.append(Finding(path, str(error)))
        self._listener.failed(error)


def _leads_out(link: Path, archive: Path) -> bool:
    """Return True if a link leads out of the archive, even to a missing file; return False for a loop of links."""
    try:
        link.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
    return not stays_inside(Link(link, link.relative_to(archive), archive))


def _size(pair: Pair) -> int:
    """Return the number of bytes to compare; most links have none."""
    if pair.shown.kind is ShownKind.LINK:
        return 0
    try:
        return pair.source.stat().st_size
    except OSError:
        return 0
