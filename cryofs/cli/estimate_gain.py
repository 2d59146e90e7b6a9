"""`cryofs estimate-gain`: estimate the gain reference of gain-normalised movies."""

import shlex
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryofs.cli.output import Reporter
from cryofs.cli.parameters import PATH, files_argument, jobs_option
from cryofs.text import counted, printable

if TYPE_CHECKING:
    from cryofs.gain.estimation_run import Estimated

# Number of movies to print for each additional gain; the list file contains all of them.
_NAMED = 20


@click.command("estimate-gain")
@files_argument("sources", "SOURCE", "Movies, folders, .star, .lst or .mdoc lists.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=PATH,
    required=True,
    metavar="FOLDER",
    help="Folder for the estimate and its gain references.",
)
@click.option(
    "--thresh",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Number of agreeing values after which a pixel is reliable.",
)
@click.option(
    "--min-frames",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Minimum number of frames to use for each gain.",
)
@click.option(
    "--max-frames",
    type=click.IntRange(1),
    help="Maximum number of frames to use for each gain, including earlier runs.",
)
@click.option(
    "--all", "all_frames", is_flag=True, help="Use all frames instead of stopping when the estimate no longer changes."
)
@jobs_option()
def command(
    sources: tuple[Path, ...],
    folder: Path,
    thresh: int,
    min_frames: int,
    max_frames: int | None,
    all_frames: bool,
    jobs: int,
) -> None:
    """Estimate the gain reference of movies.

    Finds the gain by which the movies were multiplied. Prints a row for each frame and stops when #Unreliable has not
    changed for 10 frames. The remaining movies are sampled; movies with a different gain get a reference of their own.
    Ctrl-C saves the estimate, and the same command continues it. Writes gain-reference.mrc, which multiplies counts,
    and reliability maps for cryofs and RELION.

    Example: cryofs estimate-gain movies.star -o Gain
    """
    from cryofs.archive.scan import Kind, collect
    from cryofs.gain.estimation import Goal, Limits
    from cryofs.gain.estimation_run import EstimationRun

    if max_frames is not None and max_frames < min_frames:
        raise click.UsageError("--min-frames must not exceed --max-frames; reduce --min-frames, or set only one")
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    found, problems = collect(sources, folder)
    failed = len(problems)
    with Reporter() as reporter, ThreadPoolExecutor(jobs) as pool:

        def report(error: Exception) -> None:
            nonlocal failed
            failed += 1
            reporter.error(error)

        for problem in problems:
            reporter.error(problem.error)
        movies = [job.source for job in found if job.kind is Kind.MOVIE]
        limits = Limits(max_frames, stop.is_set, Goal.ALL if all_frames else Goal.SETTLED, min_frames)
        run = EstimationRun(
            folder, thresh, limits, pool, report, lambda: reporter.line("sampling movies for another gain ...")
        )
        for row in run.rows(movies):
            print(printable(str(row)), flush=True)
        for line in _summary(run.results, sources, folder):
            reporter.line(line)
        if stop.is_set():
            reporter.line(f"interrupted; run the same command again to continue from {folder}")
    raise click.exceptions.Exit(1 if failed else 0)


def _summary(results: "list[Estimated]", sources: Iterable[Path], folder: Path) -> Iterator[str]:
    """Yield the final lines: for each gain, why the estimate stopped and the files written; then the next command."""
    if not results:
        return
    for result in results:
        yield _ending(result)
        names = ", ".join(path.name for path in result.files[1:])
        yield (f"{result.reference}: {result.without_gain} of {result.pixels} pixels have no gain; also wrote {names}")
    for result in results[1:]:
        name = results[0].reference.name
        yield f"gain other than {name} ({counted(len(result.movies), 'movie')}, {result.reference.name}):"
        yield from (f"  {name}" for name in result.movies[:_NAMED])
        if len(result.movies) > _NAMED:
            yield f"  and {len(result.movies) - _NAMED} more in {result.movie_list}"
    gain = results[0].reference
    if len(results) > 1:
        lists = ", ".join(f"{result.movie_list}" for result in results)
        yield f"lists of movies by gain, for other programs: {lists}"
        # compress accepts a folder of references and uses the matching one for each movie
        gain = folder
    quoted = " ".join(shlex.quote(str(source)) for source in sources)
    yield f"next: cryofs compress {quoted} -o ARCHIVE --gain {shlex.quote(str(gain))}"


def _ending(result: "Estimated") -> str:
    from cryofs.gain.estimation import Ending

    used = f"{result.frames} frames of {counted(result.movies_used, 'movie')}"
    if sampled := len(result.movies) - result.movies_used:
        used += f"; {counted(sampled, 'further movie')} sampled, same gain"
    reason = result.ending.value
    if result.ending is Ending.SETTLED:
        reason += "; continue with --all or --min-frames N"
    elif result.ending is Ending.READ and result.unreliable > result.without_gain:
        reason += "; add movies to make more pixels reliable"
    state = "stopped" if result.new_frames else "nothing to do"
    return f"{state}: {reason} ({used}; #Unreliable {result.unreliable} / {result.pixels})"
