"""Report of the comparisons: all figures in `table.json`, and Markdown tables.

`python -m benchmarks.report FOLDER` prints the tables of a folder. With `--pages`, it replaces the tables in README.md
and docs/benchmarks.md, and redraws docs/benchmarks.svg.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.competitors import OURS, RELION
from benchmarks.figures import Figure, GainFigure, Results
from benchmarks.markdown import NOTHING, table
from benchmarks.reading_report import readings_table, readings_text, writing_text
from benchmarks.readings import K2, SESSION, WRITING

_ROOT = Path(__file__).parents[1]
_FIGURES = "table.json"
_PACKERS = ("zstd -3", "squashfs", "bzip2")
_MEASURED_BEGIN, _MEASURED_END = "<!-- measured -->", "<!-- end of measured -->"
# rows of README.md: kinds of movies (with EER grouping), and loads
_SUMMARY_GROUPINGS = (None, 24, 8)
_SUMMARY_CASES = 6
_SUMMARY_READINGS = (
    "one reader, cold",
    "four readers, a movie each, cold",
    "one reader, warm",
    "header only, each of four movies, cold",
)
_COMPRESSION = """\
Size is the stored size as a percentage of the original size. "Alone" is a run with one movie; core-seconds are the
processor time of all cores together. "Each of many" is the time per movie in a run with several movies (their number is
in brackets), in which RELION runs under MPI with one rank per core, and bzip2 with one process per movie. squashfs uses
zstd at its default level. Originals are in the page cache; times are medians. The ratio columns show how many times
longer the other program took: both with one movie; the other with one movie, cryofs with many; both with many. Memory
is the peak of all processes together. The times of cryofs include decoding the written movie and comparing it with the
original, which the other programs do not do."""

_GAINS = """\
Gain estimates from one movie of 40 frames, and from three. cryofs stops when the estimate no longer changes; RELION
uses all frames. Times are those of the whole program, including its start and saving the result."""

_SUMMARY_READING = """\
Reading gain-normalised K2 movies through the mount, with the ratio to each other way of reading in brackets (above 1:
cryofs is faster):"""


def write_figures(results: Results, folder: Path) -> None:
    """Write `table.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def read_figures(folder: Path) -> Results:
    """Read `table.json`."""
    return msgspec.json.decode((folder / _FIGURES).read_bytes(), type=Results)


def write_pages(results: Results, root: Path) -> None:
    """Replace the measured tables of README.md and docs/benchmarks.md below `root`, and redraw the plot."""
    # matplotlib is slow to import, and printing needs only the tables
    from benchmarks.plot import write_plot

    write_measured(summary_text(results), root / "README.md")
    write_measured(report_text(results), root / "docs" / "benchmarks.md")
    write_plot(results.figures, root / "docs" / "benchmarks.svg")


def report_text(results: Results) -> str:
    """Return the report in Markdown."""
    parts = ["Measured on: " + _facts(results.machine), "Versions: " + _facts(results.versions)]
    if results.figures:
        parts += ["## Compression", _COMPRESSION, _compression(results.figures)]
    if results.gains:
        parts += ["## Gain estimation", _GAINS, _gains(results.gains)]
    writing = [reading for reading in results.readings if reading.table in (WRITING, SESSION)]
    if reading := [one for one in results.readings if one not in writing]:
        parts += ["## Reading through the mount", *readings_text(reading)]
    if writing:
        parts += ["## Writing through the mount", *writing_text(writing)]
    if results.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in results.notes)]
    return "\n\n".join(parts) + "\n"


def write_measured(text: str, page: Path) -> None:
    """Replace the text between the two marks of a Markdown file."""
    before, _, rest = page.read_text().partition(_MEASURED_BEGIN)
    _, end, after = rest.partition(_MEASURED_END)
    if not end:
        raise SystemExit(f"{page}: marks of measured tables missing (expected {_MEASURED_BEGIN} and {_MEASURED_END})")
    page.write_text(f"{before}{_MEASURED_BEGIN}\n{text}\n{end}{after}")


def summary_text(results: Results) -> str:
    """Return the tables of README.md: sizes and speed by kind of movie, and reading if it was measured."""
    parts = [_summary(results)]
    chosen = [reading for reading in results.readings if reading.table == K2 and reading.what in _SUMMARY_READINGS]
    if chosen:
        parts += [_SUMMARY_READING, readings_table(chosen, K2)]
    return "\n\n".join(parts)


def _summary(results: Results) -> str:
    """Return a table with a row per kind of movie: size by each program, and speed of cryofs relative to RELION."""
    by_case: dict[tuple[str, int | None], dict[tuple[str, bool], Figure]] = {}
    for figure in results.figures:
        by_case.setdefault((figure.case, figure.grouping), {})[figure.competitor, figure.movies > 1] = figure
    rows = []
    for (case, grouping), figures in by_case.items():
        if (OURS, True) not in figures or grouping not in _SUMMARY_GROUPINGS:
            continue
        ours, mpi = figures.get((OURS, True)), figures.get((RELION, True))
        sizes = [
            _of(figures.get((name, False)) or figures.get((name, True)), lambda figure: f"{figure.percent:.2f} %")
            for name in (OURS, RELION, *_PACKERS)
        ]
        title = case if grouping is None else f"{case}, grouping {grouping}"
        rows.append([title, *sizes, _ratio(mpi, ours)])
    heads = ["movies", OURS, RELION, *_PACKERS, "times as fast as RELION"]
    return table(heads, rows[:_SUMMARY_CASES])


def _compression(figures: Sequence[Figure]) -> str:
    by_key = {(figure.case, figure.grouping, figure.competitor, figure.movies > 1): figure for figure in figures}
    rows = []
    for case, grouping, competitor in dict.fromkeys(key[:3] for key in by_key):
        alone, of_many = (by_key.get((case, grouping, competitor, many)) for many in (False, True))
        our_alone, our_many = (by_key.get((case, grouping, OURS, many)) for many in (False, True))
        ratios = [_ratio(alone, our_alone), _ratio(alone, our_many), _ratio(of_many, our_many)]
        rows.append(
            [
                case if grouping is None else f"{case}, grouping {grouping}",
                competitor,
                _of(alone or of_many, lambda figure: f"{figure.percent:.2f} %"),
                _of(alone, lambda figure: f"{figure.seconds_each:.2f}"),
                _of(alone, _core_seconds),
                _of(of_many, lambda figure: f"{figure.seconds_each:.2f} ({figure.movies})"),
                *(ratios if competitor != OURS else [""] * len(ratios)),
                *(_of(figure, lambda figure: f"{figure.peak_bytes / 1e9:.2f}") for figure in (alone, of_many)),
            ]
        )
    heads = ["movies", "program", "size", "alone, s", "alone, core-s", "each of many, s"]
    heads += ["ratio, both alone", "ratio, alone / many", "ratio, both many", "memory alone, GB", "memory of many, GB"]
    return table(heads, rows)


def _core_seconds(figure: Figure) -> str:
    return f"{statistics.median(figure.core_seconds):.2f}" if figure.core_seconds else NOTHING


def _gains(gains: Sequence[GainFigure]) -> str:
    rows = []
    for gain in gains:
        seconds = statistics.median(gain.seconds)
        each = f"{seconds / max(gain.frames, 1):.3f}"
        counts = [str(gain.movies), str(gain.frames)]
        rows.append([gain.program, *counts, f"{seconds:.2f}", each, f"{gain.peak_bytes / 1e9:.2f}"])
    return table(["program", "movies", "frames", "s", "s a frame", "memory, GB"], rows)


def _of(figure: Figure | None, text: Callable[[Figure], str]) -> str:
    return text(figure) if figure else NOTHING


def _ratio(theirs: Figure | None, ours: Figure | None) -> str:
    return f"{theirs.seconds_each / ours.seconds_each:.1f}" if theirs and ours else NOTHING


def _facts(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) + "."


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", action="store_true", help="update README.md and docs/benchmarks.md")
    arguments = parser.parse_args()
    results = read_figures(arguments.folder)
    print(report_text(results))
    if arguments.pages:
        write_pages(results, _ROOT)


if __name__ == "__main__":
    main()
