"""`cryofs compare`: compare a folder with its archive."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cryofs.cli.output import Reporter, print_json
from cryofs.cli.parameters import PATH, jobs_option, json_option, part_option
from cryofs.execution.parts import Part
from cryofs.text import as_unicode

if TYPE_CHECKING:
    from cryofs.archive.compare import Comparison, Finding
    from cryofs.archive.pairs import Missing

_MB = 10**6


@click.command("compare")
@click.argument("source", type=PATH, help="Folder with the original files.")
@click.argument("archive", type=PATH, help="Archive of that folder.")
@click.option("--remove-source", is_flag=True, help="Remove each source file that has an equal archived file on disk.")
@click.option("--trust-storage", is_flag=True, help="With --remove-source: accept storage without a reliable fsync.")
@part_option("Compare")
@jobs_option("Number of files to compare in parallel.")
@json_option("Print the result as JSON, with lists of files.")
def command(
    source: Path, archive: Path, remove_source: bool, trust_storage: bool, part: Part, jobs: int, as_json: bool
) -> None:
    """Compare a folder with its archive.

    Every file of SOURCE is compared byte for byte with the file that a mount of ARCHIVE shows: content, size, time,
    mode, links and empty folders. Archived movies are decoded and checked. The exit code is 0 only if everything is
    equal.

    With --remove-source, each equal file is removed from SOURCE after its archived file has been synced and read back
    from the disk. Files that differ, have changed, or are in use are kept. An interrupted run can be repeated.

    Example: cryofs compare /data/session /archive/session
    """
    from cryofs.archive.compare import CompareOptions, compare

    if trust_storage and not remove_source:
        raise click.UsageError("--trust-storage requires --remove-source")
    if remove_source and not part.is_whole:
        raise click.UsageError("--remove-source and --part are mutually exclusive; compare in parts first")
    options = CompareOptions(jobs, remove_source, trust_storage, part)
    with Reporter(unit="MB") as reporter:
        done = compare(source, archive, options, _Progress(reporter))
    if as_json:
        print_json(_facts(done))
    else:
        print(_summary(done, remove_source))
    raise click.exceptions.Exit(0 if done.all_equal else 1)


def _facts(done: "Comparison") -> dict[str, Any]:
    """Return the counts and the lists of files as JSON values."""
    lists: dict[str, list[Any]] = {
        "differing": done.differing,
        "missing": done.missing,
        "not_removed": done.not_removed,
        "failed": done.failed,
    }
    figures = {"equal": done.equal, "removed": done.removed, "not_in_source": done.not_in_source}
    figures["links_outside"] = done.links_outside
    files = {name: [_entry(finding) for finding in found] for name, found in lists.items()}
    return {**figures, **{name: len(found) for name, found in lists.items()}, "files": files}


def _entry(finding: "Finding | Missing") -> dict[str, str]:
    return {name: as_unicode(str(value)) for name, value in vars(finding).items()}


def _summary(done: "Comparison", remove_source: bool) -> str:
    parts = [f"{done.equal} equal", f"{len(done.differing)} differing", f"{len(done.missing)} missing"]
    parts.append(f"{len(done.failed)} failed")
    if remove_source:
        parts += [f"{done.removed} removed", f"{len(done.not_removed)} not removed"]
        if done.not_in_source:
            parts.append(f"{done.not_in_source} only in the archive")
    if done.links_outside:
        parts.append(f"{done.links_outside} links point outside the archive; their targets are not archived")
    return ", ".join(parts)


class _Progress:
    """Progress of a comparison, reported in whole megabytes."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter
        self._lock = threading.Lock()
        self._bytes = 0

    def begin(self, total_bytes: int) -> None:
        self._reporter.begin("comparing", total_bytes // _MB)

    def advance(self, count: int) -> None:
        with self._lock:
            before, self._bytes = self._bytes, self._bytes + count
            self._reporter.advance(self._bytes // _MB - before // _MB)

    def note(self, text: str) -> None:
        self._reporter.line(text)

    def failed(self, error: Exception) -> None:
        self._reporter.error(error)
