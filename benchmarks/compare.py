"""`make bench`: cryofs against RELION and against compressors, on movies as in the examples of RELION's page.

Times of one machine mean little, so everybody runs on the same movies, in turn, in the same run. Of each kind four
full-size movies are made in a temporary folder, measured and removed, one kind after the other; the largest needs 20 GB
on the disk. `--folder` keeps them for the next time, and `--keep` what the report says of cases that are not measured
again. A whole run takes two hours or so, ten minutes of which go to the memory of a mount (`--minutes`); `--small`
takes a few minutes.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import cases
from benchmarks.compare_compression import compress_counts, compress_eer, compress_normalised, estimate_gain
from benchmarks.compare_names import Many, ask_under_load, list_names
from benchmarks.compare_reading import read_k2
from benchmarks.contest import Contest
from benchmarks.figures import Results
from benchmarks.machine import machine, versions
from benchmarks.measure import apart, run
from benchmarks.reading_loads import MOVIES
from benchmarks.reading_memory import memory_under_load
from benchmarks.reading_peers import Session
from benchmarks.reading_relion import correct_motion, read_eer
from benchmarks.report import read_results, write_report

RESULTS = Path(__file__).parent / "results"
GAIN, READING, NAMES, MEMORY = "gain", "reading", "names", "memory"
# small movies in one folder, and in folders of a thousand
_MANY, _MANY_SMALL = (10_000, 100_000), (1000, 3000)
_MINUTES, _MINUTES_SMALL = 10, 0.1


class Bench:
    """A run of the comparisons, which adds to its results case by case."""

    def __init__(self, folder: Path, runs: int, small: bool, minutes: float | None = None):
        self._folder = folder / "small" if small else folder
        self._many = Many(self._folder / "names", *(_MANY_SMALL if small else _MANY))
        self._minutes = minutes or (_MINUTES_SMALL if small else _MINUTES)
        self._runs = runs
        self._cases = cases(small)
        self.results = Results(machine(), versions(), [], [], [], [])

    def measure(self, name: str) -> None:
        """Make the movies of a case and measure everybody on them."""
        readings = {READING: self._read, NAMES: self._list, MEMORY: self._remember}
        if name in readings:
            readings[name](self._session())
        elif name == GAIN:
            self.results.gains += estimate_gain(self._contest("k2", 3))
        else:
            compress = {"k2": compress_normalised, "eer": compress_eer}.get(name, compress_counts)
            self.results.figures += compress(self._contest(name))

    def _session(self) -> Session:
        return Session(self._folder / "k2", self._movies("k2", MOVIES))

    def _read(self, session: Session) -> None:
        notes = self.results.notes
        self.results.readings += read_k2(session, self._runs, notes)
        self.results.readings += read_eer(self._folder / "eer", self._movies("eer", 1)[0], self._runs, notes)
        self.results.readings += correct_motion(session, self._runs, notes)

    def _list(self, session: Session) -> None:
        session.compress()
        self._many.make()
        self._many.add_large(session.archive)
        self.results.readings += list_names(self._many, self._runs, self.results.notes)
        self.results.readings += ask_under_load(self._many, session, self._runs)

    def _remember(self, session: Session) -> None:
        session.compress()
        self.results.readings += memory_under_load(session, self._minutes)

    def _contest(self, name: str, count: int | None = None) -> Contest:
        movies = self._movies(name, count)
        return Contest(self._cases[name].title, self._folder / name, movies, self._runs, self.results.notes)

    def _movies(self, name: str, count: int | None = None) -> list[str]:
        print(f"movies: {self._cases[name].title}", flush=True)
        return self._cases[name].make(self._folder / name, count)


def main() -> None:
    """Run the comparisons that were asked for; the report grows with each."""
    names = [*cases(), GAIN, READING, NAMES, MEMORY]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(names), help="which, with commas (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each competitor; slow ones run once (default: 3)")
    parser.add_argument("--small", action="store_true", help="small movies, for trying")
    parser.add_argument("--minutes", type=float, help=f"of the memory test (default: {_MINUTES}, few seconds if small)")
    parser.add_argument("--folder", type=Path, help="keep the movies here, and use those that are here")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report is written")
    parser.add_argument("--keep", action="store_true", help="keep what the report there says of other cases")
    arguments = parser.parse_args()
    before = read_results(arguments.results) if arguments.keep else None
    chosen = arguments.cases.split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    # nobody's time holds the compiling of kernels that have just been changed
    run([sys.executable, "-m", "cryofs.kernels.warm_up"], Path(__file__).parents[1])
    with tempfile.TemporaryDirectory(prefix="cryofs-bench-") as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        bench = Bench(folder, arguments.runs, arguments.small, arguments.minutes)
        for name in chosen:
            bench.measure(name)
            results = bench.results.keep_others(before) if before else bench.results
            apart(write_report, results, arguments.results)
            if arguments.folder is None:
                shutil.rmtree(folder)
    print((arguments.results / "table.md").read_text())


if __name__ == "__main__":
    main()
