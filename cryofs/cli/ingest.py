"""`cryofs ingest`: turn the finished plain movies of an archive into archived movies, in place."""

import signal
from pathlib import Path
from threading import Event

import click

from cryofs.cli.output import MovieProgress, Reporter, print_json
from cryofs.cli.parameters import PATH, break_lock_option, compression_option, jobs_option, json_option
from cryofs.config.choices import GAIN_WORDS, CompressionChoice
from cryofs.text import size_text


@click.command("ingest")
@click.argument("archive", type=PATH)
@click.option("--follow", is_flag=True, help="Search for finished movies again and again, until Ctrl-C or SIGTERM.")
@click.option(
    "--settle",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time since the last change of a finished movie.",
)
@click.option(
    "--gain",
    default="auto",
    show_default=True,
    metavar="auto|none|FILE",
    help="Gain reference: those of the archive and estimates, none, or a file, which is added to the archive.",
)
@compression_option
@break_lock_option
@jobs_option("Number of cores to use.")
@json_option("Print the summary as JSON.")
def command(
    archive: Path,
    follow: bool,
    settle: float,
    gain: str,
    compression: CompressionChoice,
    break_lock: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Turn finished plain movies of an archive into archived movies, in place.

    For folders into which a microscope or another program writes directly. A movie is finished when it has not changed
    for some time and its size agrees with its header. Its archived movie is written, read back and compared before it
    replaces the plain movie, and only if no program has the plain movie open. Gain-normalised movies that no gain
    reference of the archive fits wait until their gain is estimated; without --follow, it is estimated from the movies
    that are there. Movies that would not become 5 % smaller stay as they are.

    Example: cryofs ingest /data/session --follow
    """
    from cryofs.system import garbage

    with garbage.long_lived():
        from cryofs.compress.plan import Coding
        from cryofs.ingest.draft import DraftOptions
        from cryofs.ingest.run import IngestOptions, ingest

    options = IngestOptions(
        DraftOptions("none" if gain == "none" else "auto", Coding(compression)),
        None if gain in GAIN_WORDS else Path(gain),
        settle,
        follow,
        jobs,
        break_lock,
    )
    stop = Event()
    if follow:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    with Reporter() as reporter:
        summary = ingest(archive, options, _Progress(reporter), stop)
    if as_json:
        ratio = summary.stored_bytes / summary.original_bytes if summary.original_bytes else None
        print_json({**vars(summary), "ratio": ratio})
    else:
        hidden = f", {summary.hidden} originals hidden for a day" if summary.hidden else ""
        print(
            f"{summary.ingested} ingested, {summary.waiting} waiting, {summary.kept_plain} kept plain, "
            f"{summary.failed} failed{hidden}: {size_text(summary.original_bytes)} -> "
            f"{size_text(summary.stored_bytes)} in {summary.seconds:.1f} s"
        )
    raise click.exceptions.Exit(1 if summary.failed else 0)


class _Progress(MovieProgress):
    """Progress of a run on a reporter."""

    def failed(self, error: Exception) -> None:
        """Print the error of a file."""
        self._reporter.error(error)
