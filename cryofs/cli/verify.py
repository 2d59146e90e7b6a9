"""`cryofs verify`: check every file of an archive against its recorded checksum."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryofs.cli.output import Reporter, print_json
from cryofs.cli.parameters import files_argument, jobs_option, json_option, part_option
from cryofs.errors import ArchiveError
from cryofs.execution.parts import Part

if TYPE_CHECKING:
    from cryofs.archive.verify import Checked


@click.command("verify")
@files_argument("paths", "PATH", "Files of an archive, .star, .lst or .mdoc lists, or archives.")
@part_option("Check")
@jobs_option()
@json_option()
def command(paths: tuple[Path, ...], part: Part, jobs: int, as_json: bool) -> None:
    """Check files against recorded checksums.

    Archived movies are decoded and compared with the checksums in their records. All other files are compared with the
    checksum list of their folder, .cryofs-sha256.

    Example: cryofs verify /archive/session
    """
    from cryofs.archive.verify import verify

    with Reporter(unit="bytes") as reporter:

        def report(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: good")
            else:
                reporter.error(error)

        def report_unchecked(path: Path) -> None:
            reporter.line(f"{path}: no checksum")

        checked = verify(paths, jobs, report, reporter.begin, reporter.advance, report_unchecked, part)
        for path in checked.without_anything:
            reporter.error(_no_checksum_error(path))
    figures = {name: value for name, value in vars(checked).items() if name != "without_anything"}
    if as_json:
        print_json(figures)
    else:
        _print(checked)
    raise click.exceptions.Exit(1 if checked.failed or checked.without_anything else 0)


def _print(checked: "Checked") -> None:
    print(f"{checked.movies} movies good, {checked.failed} failed, {checked.files} other files good")
    if checked.without_file:
        print(f"{checked.without_file} files with a recorded checksum are missing")
    if checked.without_checksum:
        print(f"{checked.without_checksum} files without a checksum skipped; record their checksums with cryofs adopt")
    if checked.without_record:
        print(f"{checked.without_record} of these are TIFF movies without a record; add records with cryofs adopt")


def _no_checksum_error(path: Path) -> ArchiveError:
    """Return the error for a folder without checksums, because a wrong path must not pass as an intact archive."""
    return ArchiveError(
        f"{path}: no file has a checksum; pass the archive (-o of cryofs compress), not the originals or a mount, or "
        "record checksums with cryofs adopt"
    )
