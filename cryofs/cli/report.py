"""`cryofs report`: write an HTML report of an archive."""

from pathlib import Path

import click

from cryofs.cli.output import Reporter, check_result
from cryofs.cli.parameters import PATH, jobs_option
from cryofs.system.paths import check_archive
from cryofs.text import printable


@click.command("report")
@click.argument("archive", type=PATH, help="Folder of the archive.")
@click.option("-o", "--output", "page", type=PATH, required=True, metavar="PAGE", help="HTML file to write.")
@click.option(
    "--previews", type=click.IntRange(0), default=6, show_default=True, help="Number of movies to decode and show."
)
@jobs_option()
def command(archive: Path, page: Path, previews: int, jobs: int) -> None:
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
    raise click.exceptions.Exit(1 if survey.problems else 0)
