"""`cryofs extract`: restore original files from an archive without a mount."""

from pathlib import Path

import click

from cryofs.cli.output import Reporter
from cryofs.cli.parameters import PATH, files_argument, jobs_option, part_option
from cryofs.execution.parts import Part
from cryofs.text import size_text


@click.command("extract")
@files_argument("files", "FILE", "Archived movies, .star, .lst or .mdoc lists, or archives.")
@click.option(
    "-o", "--output", "folder", type=PATH, required=True, metavar="FOLDER", help="Folder for the restored files."
)
@part_option("Restore")
@jobs_option()
@click.option("--overwrite", is_flag=True, help="Replace files in FOLDER even if they differ.")
def command(files: tuple[Path, ...], folder: Path, part: Part, jobs: int, overwrite: bool) -> None:
    """Restore original files from an archive.

    Files are restored byte for byte, with their times and modes. A file that exists in FOLDER is kept if it is equal,
    and reported as failed if it differs.

    Example: cryofs extract /archive/session -o /data/session
    """
    from cryofs.archive.extract import extract

    with Reporter() as reporter:

        def report(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: restored")
            else:
                reporter.error(error)

        done = extract(files, folder, jobs, report, reporter.begin, reporter.advance, overwrite=overwrite, part=part)
    unchanged = f", {done.unchanged} unchanged" if done.unchanged else ""
    print(
        f"{done.movies} movies ({size_text(done.original_bytes)}) and {done.files} other files{unchanged}, "
        f"{done.failed} failed"
    )
    raise click.exceptions.Exit(1 if done.failed else 0)
