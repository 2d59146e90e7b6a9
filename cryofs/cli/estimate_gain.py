"""`cryofs estimate-gain`: the gain reference of gain-normalised movies."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from cryofs.cli.output import Reporter
from cryofs.system.resources import usable_cores
from cryofs.text import printable

NAME = "estimate-gain"


def command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", readable=False, help="Movies, folders, .star or .lst lists.")
    ],
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the estimate is kept.")],
    thresh: Annotated[int, typer.Option(min=1, help="Agreeing values after which a pixel counts as reliable.")] = 50,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after this many frames in all.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Threads.", show_default="all cores")] = usable_cores(),
) -> None:
    """Estimate the gain reference that movies were multiplied with.

    Prints a row for each frame and stops by itself once the estimate no longer changes. Ctrl-C keeps what is known; the
    same command goes on from there. Writes gain-reference.mrc, to be multiplied with counts, and gain-reliability.mrc.

    Example: cryofs estimate-gain movies.star -o Gain
    """
    from cryofs.archive.scan import Kind, collect
    from cryofs.gain.estimation import Limits, continue_estimation
    from cryofs.storage.atomic_file import remove_stale_drafts

    if folder.is_dir():
        remove_stale_drafts(folder)
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    found, problems = collect(sources, folder)
    failed = len(problems)
    with Reporter() as reporter, ThreadPoolExecutor(jobs) as pool:

        def tell(error: Exception) -> None:
            nonlocal failed
            failed += 1
            reporter.error(error)

        for problem in problems:
            reporter.error(problem.error)
        movies = [job.source for job in found if job.kind is Kind.MOVIE]
        limits = Limits(max_frames, stop.is_set)
        for row in continue_estimation(movies, folder, thresh, limits, pool, on_error=tell):
            print(printable(str(row)), flush=True)
        if stop.is_set():
            reporter.line(f"interrupted; run the same command to go on from {folder}")
    raise typer.Exit(1 if failed else 0)
