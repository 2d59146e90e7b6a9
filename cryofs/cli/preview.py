"""`cryofs preview`: a movie as a picture."""

from pathlib import Path
from typing import Annotated

import typer

from cryofs.cli.output import check_result
from cryofs.system.resources import usable_cores

NAME = "preview"


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="A movie: MRC, TIFF, EER, archived or not.")
    ],
    picture: Annotated[Path, typer.Option("-o", "--output", metavar="PICTURE", help="Where: .png, .svg or .pdf.")],
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
) -> None:
    """Draw a movie: the sum of its frames, the power spectrum of that, and how often each count occurs.

    Example: cryofs preview /archive/session/movie.mrc.tif -o movie.png
    """
    check_result(picture)
    from cryofs.report.movie_summary import look_at
    from cryofs.report.preview import save_preview

    look = look_at(file, jobs)
    save_preview(look, picture)
    print(f"{look.name}: {look.facts}; {look.dose}")
