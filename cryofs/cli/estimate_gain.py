"""`cryofs estimate-gain`: the gain reference of gain-normalised movies."""

import shlex
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryofs.cli.output import Reporter
from cryofs.system.resources import usable_cores
from cryofs.text import printable

if TYPE_CHECKING:
    from cryofs.gain.estimation_run import Estimated

NAME = "estimate-gain"
# Movies of a further gain that are named; the list file has all.
_NAMED = 20


def command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", readable=False, help="Movies, folders, .star or .lst lists.")
    ],
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the estimate is kept.")],
    thresh: Annotated[int, typer.Option(min=1, help="Agreeing values after which a pixel counts as reliable.")] = 50,
    min_frames: Annotated[int, typer.Option(min=0, help="Take at least this many frames for each gain.")] = 0,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Take at most this many frames for each gain, earlier runs included.")
    ] = None,
    all_frames: Annotated[bool, typer.Option("--all", help="Take all frames; do not stop when settled.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
) -> None:
    """Estimate the gain reference that movies were multiplied with.

    Prints a row for each frame and stops once #Unreliable has not changed for 10 frames. Further movies are sampled;
    those with another gain get a reference of their own. Ctrl-C keeps what is known; the same command goes on from
    there. Writes gain-reference.mrc, to be multiplied with counts, and reliability maps for cryofs and RELION.

    Example: cryofs estimate-gain movies.star -o Gain
    """
    from cryofs.archive.scan import Kind, collect
    from cryofs.gain.estimation import Goal, Limits
    from cryofs.gain.estimation_run import EstimationRun

    if max_frames is not None and max_frames < min_frames:
        raise typer.BadParameter("--min-frames is above --max-frames; set only one of them, or a smaller minimum")
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
            folder, thresh, limits, pool, report, lambda: reporter.line("looking for movies with another gain ...")
        )
        for row in run.rows(movies):
            print(printable(str(row)), flush=True)
        for line in _summary(run.results, sources, folder):
            reporter.line(line)
        if stop.is_set():
            reporter.line(f"interrupted; run the same command to go on from {folder}")
    raise typer.Exit(1 if failed else 0)


def _summary(results: "list[Estimated]", sources: list[Path], folder: Path) -> Iterator[str]:
    """Return the lines that end a run: for each gain why it ended and what was written, and the next command."""
    if not results:
        return
    for result in results:
        yield _ending(result)
        names = ", ".join(path.name for path in result.files[1:])
        yield (f"{result.reference}: {result.without_gain} of {result.pixels} pixels have no gain; with it {names}")
    for result in results[1:]:
        name = results[0].reference.name
        yield f"another gain than {name} ({_count(len(result.movies), 'movie')}, {result.reference.name}):"
        yield from (f"  {name}" for name in result.movies[:_NAMED])
        if len(result.movies) > _NAMED:
            yield f"  and {len(result.movies) - _NAMED} more in {result.movie_list}"
    gain = results[0].reference
    if len(results) > 1:
        lists = ", ".join(f"{result.movie_list}" for result in results)
        yield f"to split the movies by gain for other programs, use the lists: {lists}"
        # compress takes all references of a folder, and uses for each movie the one that fits
        gain = folder
    what = " ".join(shlex.quote(str(source)) for source in sources)
    yield f"next: cryofs compress {what} -o ARCHIVE --gain {shlex.quote(str(gain))}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ending(result: "Estimated") -> str:
    from cryofs.gain.estimation import Ending

    used = f"{result.frames} frames of {_count(result.movies_used, 'movie')}"
    if sampled := len(result.movies) - result.movies_used:
        used += f"; {_count(sampled, 'further movie')} sampled, with the same gain"
    why = result.ending.value
    if result.ending is Ending.SETTLED:
        why += "; --all or --min-frames N go on"
    elif result.ending is Ending.READ and result.unreliable > result.without_gain:
        why += "; more movies make more pixels reliable"
    begun = "stopped" if result.new_frames else "nothing to do"
    return f"{begun}: {why} ({used}; #Unreliable {result.unreliable} / {result.pixels})"
