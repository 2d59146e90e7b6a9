"""Kill `cryofs ingest` at random times, with leases and without."""

import shutil
import sys
from pathlib import Path

import numpy as np

from tests.outcomes import extracted, verified
from tests.support import cryofs, written_movie
from tests.torture.figures import Figures
from tests.torture.kills import contents, run_and_kill, usual_seconds

_MOVIES = 12
_LOCAL = (sys.executable, "-m", "cryofs")
# as on network storage, where originals are hidden for a day
_REMOTE = (
    sys.executable,
    "-c",
    "from cryofs.ingest import run; from cryofs.archive import recovery; "
    "run.may_be_remote = recovery.may_be_remote = lambda _: True; from cryofs.cli import main; main()",
)


def kill_ingest(folder: Path, kills: int, seed: int) -> Figures:
    """Kill ingest repeatedly; the archive must restore all movies after each kill, and the last run must finish."""
    figures = Figures("ingest killed", unit="kills")
    rng = np.random.default_rng(seed)
    originals = _make(folder / "unhurried")
    options = ["--settle", "0", "--jobs", "1"]
    usual = [usual_seconds([*_LOCAL, "ingest", str(folder / "unhurried"), *options])] * 2
    for number in range(kills):
        way = number // 2 % 2
        target = folder / f"archive {way}"
        if not target.exists():
            _make(target)
        command = [*(_LOCAL, _REMOTE)[way], "ingest", str(target), *options]
        finished = run_and_kill(command, rng.uniform(0.2, 1.0) * usual[way])
        figures.done += 1
        _check(target, originals, figures)
        if finished or number >= kills - 4:
            figures.crashes += cryofs("ingest", target, *options, check=False).returncode != 0
            figures.lost += len(list(target.glob("*.mrc.tif"))) != _MOVIES
            _check(target, originals, figures)
            shutil.rmtree(target)
    return figures


def _make(folder: Path) -> dict[Path, bytes]:
    for seed in range(_MOVIES):
        written_movie(folder / f"{seed}.mrc", seed, shape=(3, 100, 100))
    return contents(folder)


def _check(target: Path, originals: dict[Path, bytes], figures: Figures) -> None:
    """Count movies that the archive does not restore, as a mount would show them."""
    figures.lost += len(verified(target)[1])
    out = target.with_name("restored")
    figures.lost += len(extracted(target, to=out)[1])
    restored = contents(out)
    figures.wrong_bytes += sum(restored.get(name) != data for name, data in originals.items())
    shutil.rmtree(out)
