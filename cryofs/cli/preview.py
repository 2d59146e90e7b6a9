"""`cryofs preview`: draw a movie as a picture."""

from pathlib import Path
from typing import Annotated, Any

from cryofs.cli import declare, eer
from cryofs.cli.output import check_result
from cryofs.system.resources import usable_cores


@eer.with_options
def command(
    file: Annotated[Path, declare.Argument(metavar="FILE", help="Movie: MRC, TIFF or EER, archived or not.")],
    picture: Annotated[
        Path, declare.Option("-o", "--output", metavar="PICTURE", help="Picture to write: .png, .svg or .pdf.")
    ],
    eer_settings: dict[str, Any],
    jobs: Annotated[int, declare.Option(min=1, help="Number of threads.", show_default="all cores")] = usable_cores(),
) -> None:
    """Draw a movie as a picture.

    The picture shows the sum of all frames, the power spectrum of the sum, and a histogram of the counts.

    Example: cryofs preview /archive/session/movie.mrc.tif -o movie.png
    """
    check_result(picture)
    from cryofs.report.movie_summary import summarize
    from cryofs.report.preview import save_preview

    summary = summarize(file, jobs, eer.rendering(eer_settings))
    save_preview(summary, picture)
    print(f"{summary.name}: {summary.facts}; {summary.dose}")
