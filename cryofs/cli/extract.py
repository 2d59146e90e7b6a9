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
) -> None:
    """Restore original files, byte for byte, with their times and modes.

    Example: cryofs extract /archive/session -o /data/session
    """
    from cryofs.archive.extract import extract

    with Reporter() as reporter:

        def tell(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: restored")
            else:
                reporter.error(error)

        done = extract(files, folder, jobs, tell, reporter.begin, reporter.advance)
    print(f"{done.movies} movies ({size_text(done.original_bytes)}) and {done.files} other files, {done.failed} failed")
    raise typer.Exit(1 if done.failed else 0)
