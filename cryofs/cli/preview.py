"""`cryofs preview`: draw a movie as a picture."""

from pathlib import Path
from typing import Any

import click

from cryofs.cli.eer import eer_options, rendering_of
from cryofs.cli.output import check_result
from cryofs.cli.parameters import PATH, jobs_option


@click.command("preview")
@click.argument("file", type=PATH, help="Movie: MRC, TIFF or EER, archived, packed or neither.")
@click.option(
    "-o",
    "--output",
    "picture",
    type=PATH,
    required=True,
    metavar="PICTURE",
    help="Picture to write: .png, .svg or .pdf.",
)
@eer_options
@jobs_option()
def command(file: Path, picture: Path, eer_settings: dict[str, Any], jobs: int) -> None:
    """Draw a movie as a picture.

    The picture shows the sum of all frames, the power spectrum of the sum, and a histogram of the counts.

    Example: cryofs preview /archive/session/movie.mrc.tif -o movie.png
    """
    check_result(picture)
    from cryofs.report.movie_summary import summarize
    from cryofs.report.preview import save_preview

    summary = summarize(file, jobs, rendering_of(eer_settings))
    save_preview(summary, picture)
    print(f"{summary.name}: {summary.facts}; {summary.dose}")
