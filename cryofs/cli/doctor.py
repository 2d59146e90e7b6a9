"""`cryofs doctor`: what is missing or slow here, and the remedy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryofs.cli.output import print_json
from cryofs.errors import ArchiveError
from cryofs.text import printable

if TYPE_CHECKING:
    from cryofs.doctor.finding import Finding

NAME = "doctor"


def command(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[ARCHIVE|MOUNTPOINT]", help="What to look at; without it, this machine.", readable=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Tell what is missing or slow, and the remedy: of this machine, of an archive, or of a mount.

    Each finding is one line: ok, warning or problem. Exits with 1 if there is a problem.

    Example: cryofs doctor /archive/session
    """
    from cryofs.doctor.finding import Level

    findings = _machine() if path is None else _of(path.absolute())
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    if as_json:
        warnings = sum(finding.level is Level.WARNING for finding in findings)
        lines = [{name: printable(text) for name, text in vars(finding).items()} for finding in findings]
        print_json({"problems": problems, "warnings": warnings, "findings": lines})
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            print(printable(f"{finding.level:8} {' '.join(finding.what.split())}{remedy}"))
    raise typer.Exit(1 if problems else 0)


def _machine() -> "list[Finding]":
    from cryofs.doctor.administration import check_administration
    from cryofs.doctor.finding import tried
    from cryofs.doctor.machine import check_machine
    from cryofs.doctor.mounts import check_mounts

    return [*check_machine(), *check_administration(), *tried("mounts", check_mounts)]


def _of(path: Path) -> "list[Finding]":
    from cryofs.doctor.archive import check_archive, survey
    from cryofs.doctor.mounts import check_figures, check_mount
    from cryofs.fuse.control import is_mounted

    if not is_mounted(path):
        if not path.is_dir():
            raise ArchiveError(f"{path}: no such archive or mountpoint; name a folder, or nothing for this machine")
        return check_archive(path)
    findings, facts = check_mount(path)
    if facts is not None:
        # the mount itself is the surest way to its archive, but a long one: a few files tell the size of frames
        frame_bytes = survey(path / "@archive", folders=20, files_of_a_folder=2).largest_frame
        findings += check_figures(facts, frame_bytes)
    return findings
