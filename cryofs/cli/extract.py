"""`cryofs extract`: restore original files from an archive without a mount."""

from pathlib import Path
from typing import Annotated

from cryofs.cli import declare
from cryofs.cli.output import Reporter
from cryofs.system.resources import usable_cores
from cryofs.text import size_text


def command(
    files: Annotated[
        list[Path],
        declare.Argument(metavar="FILE", help="Archived movies, .star, .lst or .mdoc lists, or archives."),
    ],
    folder: Annotated[Path, declare.Option("-o", "--output", metavar="FOLDER", help="Folder for the original files.")],
    jobs: Annotated[int, declare.Option(min=1, help="Number of threads.", show_default="all cores")] = usable_cores(),
    overwrite: Annotated[
        bool, declare.Option("--overwrite", help="Replace files in FOLDER even if they differ.")
    ] = False,
) -> None:
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

        done = extract(files, folder, jobs, report, reporter.begin, reporter.advance, overwrite=overwrite)
    unchanged = f", {done.unchanged} unchanged" if done.unchanged else ""
    print(
        f"{done.movies} movies ({size_text(done.original_bytes)}) and {done.files} other files{unchanged}, "
        f"{done.failed} failed"
    )
    raise declare.Exit(1 if done.failed else 0)
