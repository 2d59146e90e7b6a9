"""`cryofs report`: an archive as a page to look at, to print, or to send."""

from pathlib import Path
from typing import Annotated

import typer

from cryofs.cli.output import Reporter, check_result
from cryofs.system.paths import check_archive
from cryofs.system.resources import usable_cores
from cryofs.text import printable

NAME = "report"


def command(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.", readable=False)],
    page: Annotated[Path, typer.Option("-o", "--output", metavar="PAGE", help="The page, an HTML file.")],
    previews: Annotated[int, typer.Option(min=0, help="How many movies to decode and show.")] = 6,
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
) -> None:
    """Make one HTML page of an archive: what it saves, its course over time, gain references, movies, what is wrong.

    The page is one file that asks for nothing from elsewhere. Exit code 1 says that it tells of something wrong.

    Example: cryofs report /archive/session -o session.html
    """
    check_archive(archive)
    check_result(page)
    from cryofs.report.page import write_report

    with Reporter() as reporter:
        found = write_report(archive, page, previews, jobs, reporter.line)
    print(printable(f"{page}: {len(found.movies)} movies, {len(found.problems)} with something wrong"))
    raise typer.Exit(1 if found.problems else 0)
