"""`cryofs adopt`: add records to TIFF movies of other programs, and checksums for all other files."""

from pathlib import Path

import click

from cryofs.cli.output import Reporter, print_json
from cryofs.cli.parameters import break_lock_option, files_argument, jobs_option, json_option
from cryofs.text import size_text


@click.command("adopt")
@files_argument("paths", "PATH", "Files, .star, .lst or .mdoc lists, folders, or archives.")
@break_lock_option
@jobs_option()
@json_option()
def command(paths: tuple[Path, ...], break_lock: bool, jobs: int, as_json: bool) -> None:
    """Record checksums of files from other programs.

    This lets cryofs verify check files that cryofs did not write. Each file without a checksum gets a line in the
    checksum list of its folder, .cryofs-sha256. TIFF movies of other programs get a record instead, appended to the
    file, where TIFF readers ignore it; the pixels do not change. The file is replaced atomically by a copy with the
    record, after the copy has been read back and checked.

    Prints a warning if a gain reference has the wrong orientation, or does not match its movies.

    Example: cryofs adopt /archive/relion
    """
    from cryofs.archive.adopt import adopt
    from cryofs.gain.gain_check import warn_of

    with Reporter(unit="files") as reporter:

        def report(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: adopted")
            else:
                reporter.error(error)

        def check(reference: Path, movie: Path) -> None:
            if warning := warn_of(reference, movie, jobs):
                reporter.line(warning)

        done = adopt(paths, jobs, report, reporter.begin, reporter.advance, check, reporter.line, break_lock=break_lock)
    if as_json:
        print_json(vars(done))
    else:
        print(
            f"{done.movies} movies adopted ({size_text(done.tiff_bytes)}), {done.skipped} skipped, "
            f"{done.failed} failed, {done.files} checksums recorded"
        )
    raise click.exceptions.Exit(1 if done.failed else 0)
