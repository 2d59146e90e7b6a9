"""`cryofs adopt`: records for TIFF movies of other programs."""

from pathlib import Path
from typing import Annotated

import typer

from cryofs.cli.output import Reporter, print_json
from cryofs.system.resources import usable_cores
from cryofs.text import size_text

NAME = "adopt"


def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", readable=False, help="TIFF movies, lists, or whole folders.")
    ],
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Give TIFF movies of other programs a record, so that they can be verified.

    The record goes behind the last byte of each TIFF, where TIFF readers do not look; the pixels stay as they are. A
    file is replaced in one step by its copy with the record, once that was read back whole.

    Example: cryofs adopt /archive/relion
    """
    from cryofs.archive.adopt import adopt

    with Reporter(unit="movies") as reporter:

        def tell(path: Path, error: Exception | None) -> None:
            if error is None:
                reporter.line(f"{path}: adopted")
            else:
                reporter.error(error)

        done = adopt(paths, jobs, tell, reporter.begin, reporter.advance)
    if as_json:
        print_json(vars(done))
    else:
        print(
            f"{done.movies} movies adopted ({size_text(done.tiff_bytes)}), {done.skipped} skipped, {done.failed} failed"
        )
    raise typer.Exit(1 if done.failed else 0)
