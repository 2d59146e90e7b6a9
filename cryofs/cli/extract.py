"""`cryofs extract`: originals back out of an archive, without a mount."""

from pathlib import Path
from typing import Annotated

import typer

from cryofs.cli.output import Reporter
from cryofs.system.resources import usable_cores
from cryofs.text import size_text

NAME = "extract"


def command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", readable=False, help="Archived movies, lists, or whole archives.")
    ],
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the originals go.")],
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist in FOLDER, also those that differ.")
    ] = False,
) -> None:
    """Restore original files, byte for byte, with their times and modes.

    A file that FOLDER has already is left as it is if its bytes are equal, and reported as failed if they differ.

    Example: cryofs extract /archive/session -o /data/session
    """
    from cryofs.archive.extract import extract

    with Reporter() as reporter:

        def tell(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: restored")
            else:
                reporter.error(error)

        done = extract(files, folder, jobs, tell, reporter.begin, reporter.advance, overwrite=overwrite)
    unchanged = f", {done.unchanged} unchanged" if done.unchanged else ""
    print(
        f"{done.movies} movies ({size_text(done.original_bytes)}) and {done.files} other files{unchanged}, "
        f"{done.failed} failed"
    )
    raise typer.Exit(1 if done.failed else 0)
