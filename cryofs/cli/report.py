"""`cryofs report`: write an HTML report of an archive."""

from pathlib import Path
from typing import Annotated

from cryofs.cli import declare
from cryofs.cli.output import Reporter, check_result
from cryofs.system.paths import check_archive
from cryofs.system.resources import usable_cores
from cryofs.text import printable


def command(
    archive: Annotated[Path, declare.Argument(metavar="ARCHIVE", help="Folder of the archive.")],
    page: Annotated[Path, declare.Option("-o", "--output", metavar="PAGE", help="HTML file to write.")],
    previews: Annotated[int, declare.Option(min=0, help="Number of movies to decode and show.")] = 6,
    jobs: Annotated[int, declare.Option(min=1, help="Number of threads.", show_default="all cores")] = usable_cores(),
) -> None:
    """Write an HTML report of an archive.

    The report shows savings, rates over time, gain references, sample movies and problems. The page is a single,
    self-contained file. The exit code is 1 if it reports a problem.

    Example: cryofs report /archive/session -o session.html
    """
    check_archive(archive)
    check_result(page)
    from cryofs.report.page import write_report

    with Reporter() as reporter:
        survey = write_report(archive, page, previews, jobs, reporter.line)
    print(printable(f"{page}: {len(survey.movies)} movies, {len(survey.problems)} problems"))
    raise declare.Exit(1 if survey.problems else 0)
