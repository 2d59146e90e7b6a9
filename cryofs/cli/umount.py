"""`cryofs umount`: remove a mount, live or stale."""

import time
from pathlib import Path
from typing import Any

import click

from cryofs.cli.output import Reporter
from cryofs.cli.parameters import MOUNTPOINT

# Pause between two lines about the progress where there is no terminal.
_LINE_SECONDS = 10.0


@click.command("umount")
@click.argument("mountpoint", type=MOUNTPOINT, help="Folder on which the archive is mounted.")
@click.option("--lazy", is_flag=True, help="Detach the mount even if it is in use; open files stay readable.")
@click.option("--wait", is_flag=True, help="First wait until the movies that programs wrote are archived.")
def command(mountpoint: Path, lazy: bool, wait: bool) -> None:
    """Unmount an archive.

    Returns after the mount is removed and its process has ended, unless that process serves other mounts.

    With --wait, waits until the mount has archived all movies that programs wrote, and until no program has a file open
    for writing. Files that stay plain are named. The exit code is 1 if a movie failed. Ctrl-C ends the wait, and the
    mount stays.

    Example: cryofs umount --wait /mnt/movies
    """
    from cryofs.fuse.unmounting import unmount

    failed = _wait(mountpoint) if wait else 0
    unmount(mountpoint, lazy=lazy)
    raise click.exceptions.Exit(1 if failed else 0)


def _wait(mountpoint: Path) -> int:
    """Wait until the movies of a mount are archived; return how many are to be archived and are not."""
    from cryofs.cli.ingest_lines import outcome_lines, waiting_lines
    from cryofs.fuse.archiving import left_plain, wait_until_archived
    from cryofs.fuse.control import place_of

    mountpoint = place_of(mountpoint)
    with Reporter("movies") as reporter:
        ingest = wait_until_archived(mountpoint, _Waiting(mountpoint, reporter).show)
        if not ingest:
            return 0
        for line in [*outcome_lines(ingest), *waiting_lines(ingest, "left as plain files")]:
            reporter.line(line)
    return left_plain(ingest)


class _Waiting:
    """The progress of a mount on a reporter: a bar, or a line now and then, and a line for each file that is open."""

    def __init__(self, mountpoint: Path, reporter: Reporter):
        self._mountpoint, self._reporter = mountpoint, reporter
        self._done_before: int | None = None
        self._named: set[str] = set()
        self._last_line = ""
        self._next_line = 0.0

    def show(self, facts: dict[str, Any]) -> None:
        """Show the figures of the mount."""
        from cryofs.cli.ingest_lines import waiting_text
        from cryofs.fuse.archiving import MOVING, files_of

        ingest = facts["ingest"]
        done = ingest["ingested"] + ingest["kept_plain"] + ingest["failed"]
        if self._done_before is None:
            self._done_before = done
        done -= self._done_before
        if left := files_of(ingest, MOVING):
            self._reporter.update("archiving written movies", done, done + left)
        self._name_open_files(facts["names_open_for_writing"])
        line = waiting_text(ingest)
        if self._reporter.is_terminal or line == self._last_line or time.monotonic() < self._next_line:
            return
        self._last_line, self._next_line = line, time.monotonic() + _LINE_SECONDS
        self._reporter.line(line)

    def _name_open_files(self, names: list[str]) -> None:
        """Print a line for each file that a program has open for writing, once while it is open."""
        from cryofs.system.open_files import writers_of

        new = {name: self._mountpoint / name for name in names if name not in self._named}
        self._named = set(names)
        programs = writers_of(new.values()) if new else {}
        for path in new.values():
            by = f" by {programs[path]}" if path in programs else ""
            self._reporter.line(f"{path}: open for writing{by}; waiting until it is closed")
