"""`cryofs doctor`: report problems of this machine, an archive or a mount, with fixes."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryofs.cli.output import print_json
from cryofs.cli.parameters import MOUNTPOINT, json_option
from cryofs.errors import ArchiveError
from cryofs.text import as_unicode, printable

if TYPE_CHECKING:
    from cryofs.doctor.finding import Finding


@click.command("doctor")
@click.argument(
    "path",
    type=MOUNTPOINT,
    required=False,
    metavar="[ARCHIVE|MOUNTPOINT]",
    help="Archive or mountpoint to check (default: this machine).",
)
@json_option("Print the findings as JSON.")
def command(path: Path | None, as_json: bool) -> None:
    """Check this machine, an archive or a mount.

    Prints one line for each finding, which begins with ok, warning or problem and ends with the fix. The exit code is 1
    if there is a problem.

    Example: cryofs doctor /archive/session
    """
    from cryofs.doctor.finding import Level

    findings = _check_machine() if path is None else _check_path(path.absolute())
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    if as_json:
        warnings = sum(finding.level is Level.WARNING for finding in findings)
        lines = [{name: as_unicode(text) for name, text in vars(finding).items()} for finding in findings]
        print_json({"problems": problems, "warnings": warnings, "findings": lines})
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            print(printable(f"{finding.level:8} {finding.what}{remedy}"))
    raise click.exceptions.Exit(1 if problems else 0)


def _check_machine() -> "list[Finding]":
    from cryofs.doctor.administration import check_administration
    from cryofs.doctor.finding import run_check
    from cryofs.doctor.machine import check_machine
    from cryofs.doctor.mounts import check_mounts

    return [*check_machine(), *check_administration(), *run_check("mounts", check_mounts)]


def _check_path(path: Path) -> "list[Finding]":
    from cryofs.doctor.archive import check_archive, survey
    from cryofs.doctor.ingestion import check_ingestion
    from cryofs.doctor.mounts import check_figures, check_mount
    from cryofs.fuse.control import is_mounted, mount_holding

    mount = mount_holding(path)
    if mount is not None:
        findings, facts = check_mount(mount.place)
        if facts is None:
            # a path on a mount that does not respond is not accessed
            return findings
        if is_mounted(path):
            # @archive works even if the path of the archive is not accessible, but is slow: read a small sample only
            frame_bytes = survey(path / "@archive", folders=20, files_per_folder=2).largest_frame
            return findings + check_figures(facts, frame_bytes) + check_ingestion(facts, mount.place)
    if not path.is_dir():
        raise ArchiveError(
            f"{path}: no such archive or mountpoint; pass an existing one, or no argument to check this machine"
        )
    return check_archive(path)
