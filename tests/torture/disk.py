"""Fill the disk at each step of writing in turn."""

import contextlib
import subprocess
from pathlib import Path

from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import CryofsError
from tests.full_disk import full_disk
from tests.support import archive
from tests.torture.figures import Figures
from tests.torture.kills import contents, half_written, make_session


def fill_disk(folder: Path, frames: int) -> Figures:
    """Compress on a disk that is full from the n-th step on, for each n, then continue with free space."""
    figures = Figures("disk full at every step of compress", unit="steps")
    originals = make_session(folder / "session", movies=1, frames=frames)
    options = CompressOptions(only_do_unfinished=True, jobs=2)
    target = folder / "archive"
    full = True
    while full:
        failed = 1
        with full_disk(figures.done) as disk, contextlib.suppress(CryofsError, OSError):
            failed = archive(folder / "session", target, options)[0].failed
        full = disk.steps > figures.done
        # a run without enough space that reports no failure has lost data
        figures.lost += (full and not failed) + half_written(target, originals)[0]
        summary, _ = archive(folder / "session", target, options)
        bad, whole = half_written(target, originals)
        figures.lost += summary.failed + bad + len(originals) - len(whole)
        figures.done += 1
        subprocess.run(["rm", "-r", str(target)], check=True)
    figures.lost += contents(folder / "session") != originals
    return figures
