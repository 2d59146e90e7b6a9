"""`cryofs verify`: is every file of an archive intact."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryofs.cli.output import Reporter, print_json
from cryofs.errors import ArchiveError
from cryofs.system.resources import usable_cores

if TYPE_CHECKING:
    from cryofs.archive.verify import Checked

NAME = "verify"


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", readable=False, help="Files of an archive, lists, or whole archives."),
    ],
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Check every file of an archive against its recorded checksum.

    Archived movies are decoded and compared with the checksums in their records. All other files are compared with
    the checksum list of their folder, .cryofs-sha256.

    Example: cryofs verify /archive/session
    """
    from cryofs.archive.verify import verify

    with Reporter(unit="bytes") as reporter:

        def tell(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: good")
            else:
                reporter.error(error)

        def tell_unchecked(path: Path) -> None:
            reporter.line(f"{path}: no checksum")

        checked = verify(paths, jobs, tell, reporter.begin, reporter.advance, tell_unchecked)
        for path in checked.without_anything:
            reporter.error(_nothing_error(path))
    figures = {name: value for name, value in vars(checked).items() if name != "without_anything"}
    if as_json:
        print_json(figures)
    else:
        _print(checked)
    raise typer.Exit(1 if checked.failed or checked.without_anything else 0)


def _print(checked: "Checked") -> None:
    print(f"{checked.movies} movies good, {checked.failed} failed, {checked.files} other files good")
    if checked.without_file:
        print(f"{checked.without_file} files that have a checksum are missing")
    if checked.without_checksum:
        print(f"{checked.without_checksum} files have no checksum and were not checked; cryofs adopt records one")
    if checked.without_record:
        print(f"{checked.without_record} of them are TIFF movies without a record; cryofs adopt gives them one")


def _nothing_error(path: Path) -> ArchiveError:
    """Return the error for a folder without checksums: a wrong path must not pass for an intact archive."""
    return ArchiveError(
        f"{path}: nothing in it has a checksum; name the folder that cryofs compress was given by -o, not the "
        "originals or a mount, or record checksums with cryofs adopt"
    )
