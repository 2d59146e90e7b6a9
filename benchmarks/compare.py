"""`make bench`: compare cryofs with RELION and with general compressors, on movies as in RELION's documentation.

Times depend on the machine, so all programs process the same movies alternately in one run. For each kind, four
full-size movies are generated in a temporary folder, measured and removed before the next kind; the largest kind needs
30 GB of disk space. `--folder` keeps the movies for the next run, and `--keep` keeps the previous results of cases that
are not measured again. A full run takes about two and a half hours, ten minutes of which are the memory test of a mount
(`--minutes`); `--small` takes a few minutes.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import cases
from benchmarks.compare_compression import (
    compress_counts,
    compress_eer,
    compress_normalised,
    compress_scaled,
    estimate_gain,
)
from benchmarks.compare_cropping import crop
from benchmarks.compare_names import Many, ask_under_load, list_folder, list_names
from benchmarks.compare_reading import read_k2
from benchmarks.compare_small import small_frames
from benchmarks.compare_starting import start
from benchmarks.compare_writing import write
from benchmarks.contest import Contest
from benchmarks.figures import Results
from benchmarks.machine import machine, versions
from benchmarks.measure import apart, run
from benchmarks.reading_loads import MOVIES
from benchmarks.reading_memory import memory_under_load
from benchmarks.reading_peers import Session
from benchmarks.reading_relion import correct_motion, read_eer
from benchmarks.report import read_figures, report_text, write_figures
from benchmarks.session import Plan, hold_session

RESULTS = Path(__file__).parent / "results"
GAIN, READING, NAMES, MEMORY, STARTING = "gain", "reading", "names", "memory", "starting"
PATTERNS, CROPPING, WRITING, SESSION = "small", "cropping", "writing", "session"
# numbers of small movies: in one folder, and in folders of a thousand
_MANY, _MANY_SMALL = (10_000, 100_000), (1000, 3000)
# movies in one large folder
_FOLDER, _FOLDER_SMALL = 100_000, 3000
# small files that are written through a mount
_FILES, _FILES_SMALL = 10_000, 300
_SESSION, _SESSION_SMALL = Plan(), Plan(8, 8, (1024, 1024), 1.0, settle=0.0, corrected=4)
_MINUTES, _MINUTES_SMALL = 10, 0.1
# numbers of frames of the movies with small frames
_FRAMES, _FRAMES_SMALL = (2000, 20_000), (500,)


class Bench:
    """A run of the comparisons that collects the results of each case."""

    def __init__(self, folder: Path, runs: int, small: bool, minutes: float | None = None):
        self._folder = folder / "small" if small else folder
        self._many = Many(self._folder / "names", *(_MANY_SMALL if small else _MANY))
        self._large_folder = Many(self._folder / "large-folder", _FOLDER_SMALL if small else _FOLDER, 0)
        self._small_frames: tuple[int, ...] = _FRAMES_SMALL if small else _FRAMES
        self._small_movies = 300 if small else 2000
        self._files = _FILES_SMALL if small else _FILES
        self._plan = _SESSION_SMALL if small else _SESSION
        self._minutes = minutes or (_MINUTES_SMALL if small else _MINUTES)
        self._runs = runs
        self._cases = cases(small)
        self.results = Results(machine(), versions(), [], [], [], [])

    def measure(self, name: str) -> None:
        """Generate the movies of a case and measure all programs on them."""
        readings = {READING: self._read, NAMES: self._list, MEMORY: self._remember}
        if name == STARTING:
            self._start()
        elif name == CROPPING:
            self.results.readings += crop(self._folder / "eer" / self._movies("eer", 1)[0], self._runs)
        elif name == PATTERNS:
            self._measure_small()
        elif name == SESSION:
            self.results.readings += hold_session(self._folder / "session", self._plan, self.results.notes)
        elif name == WRITING:
            self.results.readings += write(self._session(1), self._files, self._runs)
        elif name in readings:
            readings[name](self._session())
        elif name == GAIN:
            self.results.gains += estimate_gain(self._contest("k2", 3))
        else:
            special = {"k2": compress_normalised, "scaled": compress_scaled, "eer": compress_eer}
            compress = special.get(name, compress_counts)
            self.results.figures += compress(self._contest(name))

    def _session(self, movies: int = MOVIES) -> Session:
        return Session(self._folder / "k2", self._movies("k2", movies))

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
        self._large_folder.make()
        self.results.readings += list_folder(self._large_folder, self._runs)
        self.results.readings += ask_under_load(self._many, session, self._runs)

    def _start(self) -> None:
        movie = self._movies("eer", 1)[0]
        self.results.readings += start(self._folder / "eer", movie, self._runs, self.results.notes)

    def _measure_small(self) -> None:
        folder, notes = self._folder / "small-frames", self.results.notes
        self.results.readings += small_frames(folder, self._small_frames, self._small_movies, self._runs, notes)

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
    """Run the selected comparisons; update the report after each."""
    names = [*cases(), GAIN, READING, NAMES, MEMORY, STARTING, PATTERNS, CROPPING, WRITING, SESSION]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", default=",".join(names), help="cases to measure, separated by commas (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each program; slow programs run once (default: 3)")
    parser.add_argument("--small", action="store_true", help="use small movies, for a trial run")
    parser.add_argument(
        "--minutes", type=float, help=f"duration of the memory test (default: {_MINUTES}, a few seconds with --small)"
    )
    parser.add_argument("--folder", type=Path, help="keep the movies in this folder, and use existing ones")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--keep", action="store_true", help="keep the previous results of other cases")
    arguments = parser.parse_args()
    before = read_figures(arguments.results) if arguments.keep else None
    chosen = arguments.cases.split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; valid cases: {', '.join(names)}")
    # compile changed kernels first, so that no measured time includes it
    run([sys.executable, "-m", "cryofs", "warm"], Path(__file__).parents[1])
    with tempfile.TemporaryDirectory(prefix="cryofs-bench-") as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        bench = Bench(folder, arguments.runs, arguments.small, arguments.minutes)
        for name in chosen:
            bench.measure(name)
            results = bench.results.keep_others(before) if before else bench.results
            apart(write_figures, results, arguments.results)
            if arguments.folder is None:
                shutil.rmtree(folder)
    print(report_text(read_figures(arguments.results)))


if __name__ == "__main__":
    main()
