"""The report of the comparisons: `table.md` to read, `table.json` with all figures, `plot.svg` to look at.

`python -m benchmarks.report FOLDER` writes table and plot of a folder anew from its figures, and with `--readme` the
summary in README.md.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.competitors import OURS, RELION
from benchmarks.figures import Figure, GainFigure, Results
from benchmarks.markdown import NOTHING, table
from benchmarks.reading_report import readings_table, readings_text
from benchmarks.readings import K2

_PACKERS = ("zstd -3", "squashfs", "bzip2")
_SUMMARY_BEGIN, _SUMMARY_END = "<!-- measured -->", "<!-- end of measured -->"
_COMPRESSION = """\
Size: share of the original. Alone: seconds of a run with one movie. Of many: seconds a movie of a run with several (in
brackets: how many); RELION then runs under MPI with a rank a core, bzip2 with a process a movie. squashfs is zstd at
its default level. Originals are in the page cache; seconds are medians. How many times longer others took: both with
one movie; they with one against cryofs of many; both with many. Memory: of all processes together at its peak. cryofs
decodes and compares what it wrote, which is in its seconds; the others do not."""

_GAINS = """\
From one movie of 40 frames, and from three: cryofs stops by itself when the estimate no longer changes, RELION takes
all frames that it is given. The seconds are those of the whole program, start and saving included."""

_SUMMARY_READING = """\
Reading gain-normalised K2 movies through the mount; in brackets, how many times as fast cryofs is. [All
figures](benchmarks/results/table.md) come with what the rows and columns are."""


def write_report(results: Results, folder: Path) -> None:
    """Write the three files."""
    # who only wants the table need not wait for matplotlib
    from benchmarks.plot import write_plot

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    (folder / "table.md").write_text(report_text(results))
    write_plot(results.figures, folder / "plot.svg")


def read_results(folder: Path) -> Results:
    """The figures of a report."""
    return msgspec.json.decode((folder / "table.json").read_bytes(), type=Results)


def report_text(results: Results) -> str:
    """The report in Markdown."""
    parts = ["# Measured comparisons", _facts(results.machine), "Versions: " + _facts(results.versions)]
    if results.figures:
        parts += ["## Compression", _COMPRESSION, _compression(results.figures)]
    if results.gains:
        parts += ["## Gain estimation", _GAINS, _gains(results.gains)]
    if results.readings:
        parts += ["## Reading through the mount", *readings_text(results.readings)]
    if results.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in results.notes)]
    return "\n\n".join(parts) + "\n"


def write_summary(results: Results, readme: Path) -> None:
    """Put the summary between its two marks in a Markdown file."""
    text = readme.read_text()
    before, _, rest = text.partition(_SUMMARY_BEGIN)
    _, end, after = rest.partition(_SUMMARY_END)
    if not end:
        raise SystemExit(f"{readme} has no place for the summary: {_SUMMARY_BEGIN} and {_SUMMARY_END}")
    readme.write_text(f"{before}{_SUMMARY_BEGIN}\n{summary_text(results)}\n{end}{after}")


def summary_text(results: Results) -> str:
    """What README.md shows: compression, and reading a K2 movie where that was measured."""
    parts = [_summary(results)]
    if any(reading.table == K2 for reading in results.readings):
        parts += [_SUMMARY_READING, readings_table(results.readings, K2)]
    return "\n\n".join(parts)


def _summary(results: Results) -> str:
    """A row a case: sizes by everybody, and how much faster than RELION cryofs is."""
    by_case: dict[tuple[str, int | None], dict[tuple[str, bool], Figure]] = {}
    for figure in results.figures:
        by_case.setdefault((figure.case, figure.grouping), {})[figure.competitor, figure.movies > 1] = figure
    rows = []
    for (case, grouping), figures in by_case.items():
        if (OURS, True) not in figures:
            continue
        one, ours, mpi = (figures.get(key) for key in ((RELION, False), (OURS, True), (RELION, True)))
        sizes = [
            _of(figures.get((name, False)) or figures.get((name, True)), lambda figure: f"{figure.percent:.2f} %")
            for name in (OURS, RELION, *_PACKERS)
        ]
        title = case if grouping is None else f"{case}, grouping {grouping}"
        rows.append([title, *sizes, _of(ours, lambda figure: f"{figure.seconds_each:.2f}"), _ratio(one, ours)])
        rows[-1].append(_ratio(mpi, ours))
    heads = ["movies", *(f"size, {name}" for name in (OURS, RELION, *_PACKERS))]
    return table([*heads, "seconds a movie", "x RELION, one process", "x RELION, MPI"], rows)


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
                _of(of_many, lambda figure: f"{figure.seconds_each:.2f} ({figure.movies})"),
                *(ratios if competitor != OURS else [""] * len(ratios)),
                *(_of(figure, lambda figure: f"{figure.peak_bytes / 1e9:.2f}") for figure in (alone, of_many)),
            ]
        )
    heads = ["case", "competitor", "size", "alone, s", "of many, s"]
    heads += ["both alone", "alone / many", "both many", "memory alone, GB", "memory of many, GB"]
    return table(heads, rows)


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
    """Write table and plot anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readme", type=Path, help="Markdown file that takes the summary")
    arguments = parser.parse_args()
    results = read_results(arguments.folder)
    write_report(results, arguments.folder)
    if arguments.readme:
        write_summary(results, arguments.readme)


if __name__ == "__main__":
    main()
