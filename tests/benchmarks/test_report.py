"""The report of invented figures, and their measurement."""

import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from benchmarks.competitors import OURS, RELION, Competitor
from benchmarks.contest import Contest
from benchmarks.figures import RATE, Figure, GainFigure, Reading, Results
from benchmarks.measure import run
from benchmarks.pixels import compare
from benchmarks.reading_peers import RAW, ZSTD
from benchmarks.reading_report import readings_text
from benchmarks.readings import EER, K2, MEMORY, NAMES, PROGRAMS, SESSION, WRITING
from benchmarks.report import read_figures, report_text, summary_text, write_figures, write_measured, write_pages


def figure(
    case: str,
    competitor: str,
    movies: int,
    percent: int,
    seconds: list[float],
    grouping: int = 0,
    core_seconds: Sequence[float] = (),
) -> Figure:
    sizes = 100 * movies, percent * movies
    return Figure(case, grouping or None, competitor, movies, *sizes, seconds, 2 * 10**9, list(core_seconds))


@pytest.fixture
def results() -> Results:
    return Results(
        machine={"date": "2020-02-02", "cores": "4"},
        versions={"cryofs": "0.0"},
        notes=["zstd is not installed."],
        figures=[
            figure("K2", OURS, 1, 7, [2.0, 1.0, 3.0], core_seconds=[3.5, 1.5, 4.5]),
            figure("K2", RELION, 1, 12, [20.0]),
            figure("K2", OURS, 4, 7, [4.0]),
            figure("K2", RELION, 4, 12, [24.0]),
            figure("K2", "bzip2", 4, 24, [80.0]),
            *(figure("EER, 4K", OURS, 4, 50 - grouping, [9.0 - grouping / 6], grouping) for grouping in (8, 16, 24)),
        ],
        gains=[GainFigure(OURS, 3, 40, [2.0], 10**9)],
        readings=[
            Reading(K2, "one reader, cold", RAW, RATE, [1.0]),
            Reading(K2, "one reader, cold", OURS, RATE, [1.0, 9.0, 2.0]),
            Reading(K2, "header only, cold", OURS, "ms", [0.5]),
            Reading(K2, "header only, cold", RAW, "ms", [0.02]),
            Reading(K2, "header only, cold", ZSTD, "ms", [1234.5]),
            Reading(MEMORY, "most memory", OURS, "GB", [4.321]),
        ],
    )


def test_figures_are_restored(results: Results, tmp_path: Path) -> None:
    write_figures(results, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.json"]
    assert read_figures(tmp_path / "new") == results


def test_pages_get_tables_and_plot(results: Results, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for page in ("README.md", "docs/benchmarks.md"):
        (tmp_path / page).write_text("<!-- measured -->\n<!-- end of measured -->\n")
    write_pages(results, tmp_path)
    assert summary_text(results) in (tmp_path / "README.md").read_text()
    assert report_text(results) in (tmp_path / "docs" / "benchmarks.md").read_text()
    plot = tmp_path / "docs" / "benchmarks.svg"
    assert ET.parse(plot).getroot().tag.endswith("svg")
    first = plot.read_bytes()
    write_pages(results, tmp_path)
    assert plot.read_bytes() == first


def test_the_summary_replaces_the_previous_one(results: Results, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- measured -->\noutdated\n<!-- end of measured -->\nafter\n")
    write_measured(summary_text(results), readme)
    text = readme.read_text()
    assert text.startswith("before\n<!-- measured -->\n| movies |")
    assert text.endswith("\n<!-- end of measured -->\nafter\n")
    assert "| K2 | 7.00 % | 12.00 % | - | - | 24.00 % | 6.0 |" in text
    assert "outdated" not in text
    write_measured(summary_text(results), readme)
    assert readme.read_text() == text
    readme.write_text("nothing")
    with pytest.raises(SystemExit, match="marks of measured tables missing"):
        write_measured(summary_text(results), readme)


def test_the_summary_is_short(results: Results) -> None:
    more = [figure(f"case {number}", OURS, 4, 7, [1.0]) for number in range(9)]
    readings = [Reading(K2, f"load {number}, cold", OURS, RATE, [1.0]) for number in range(9)]
    text = summary_text(
        msgspec.structs.replace(results, figures=results.figures + more, readings=results.readings + readings)
    )
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    # six kinds of movies and one load, each table with a header
    assert len(rows) == 6 + 1 + 2
    assert "grouping 16" not in text


def test_rows(results: Results) -> None:
    text = report_text(results)
    assert "| K2 | cryofs | 7.00 % | 2.00 | 3.50 | 1.00 (4) |  |  |  | 2.00 | 2.00 |" in text
    assert "| K2 | RELION | 12.00 % | 20.00 | - | 6.00 (4) | 10.0 | 20.0 | 6.0 | 2.00 | 2.00 |" in text
    assert "| K2 | bzip2 | 24.00 % | - | - | 20.00 (4) | - | - | 20.0 | - | 2.00 |" in text
    assert "| EER, 4K, grouping 24 | cryofs | 26.00 % | - | - | 1.25 (4) |" in text
    assert "| cryofs | 3 | 40 | 2.00 | 0.050 | 1.00 |" in text
    assert "- zstd is not installed." in text


def test_readings_have_a_row_per_load_and_a_column_per_way(results: Results) -> None:
    text = report_text(results)
    assert f"|  | unit | cryofs | {RAW} | {ZSTD} |" in text
    # higher rates and lower times are better
    assert "| one reader, cold | GB/s | 2.00 | 1.00 (2.00) | - |" in text
    assert "| header only, cold | ms | 0.500 | 0.0200 (0.0400) | 1234 (2469) |" in text
    assert "| most memory | GB | 4.32 |" in text


def test_the_summary_has_the_readings_of_k2_only(results: Results) -> None:
    text = summary_text(results)
    assert "| one reader, cold | GB/s | 2.00 | 1.00 (2.00) |" in text
    assert "most memory" not in text
    assert "header only, cold" not in text
    results.readings.clear()
    assert "cold" not in summary_text(results)


def test_writing_has_a_section_of_its_own(results: Results) -> None:
    assert "## Writing" not in report_text(results)
    results.readings += [
        Reading(WRITING, "cp", OURS, RATE, [0.3]),
        Reading(WRITING, "cp", "the same disk", RATE, [0.4]),
    ]
    results.readings.append(Reading(SESSION, "reading", OURS, RATE, [0.2]))
    before, section = report_text(results).split("## Writing through the mount")
    assert "## Reading through the mount" in before
    assert "the same disk" not in before
    assert "| cp | GB/s | 0.300 | 0.400 (0.750) |" in section
    assert "### A session" in section


def test_every_table_of_readings_has_a_text() -> None:
    for name in (K2, EER, PROGRAMS, NAMES, MEMORY):
        title, text = readings_text([Reading(name, "what", OURS, "s", [1.0])])[1:3]
        assert title == f"### {name}"
        assert text


def test_a_part_is_measured_again(results: Results) -> None:
    again = Results(
        {"cores": "2"}, {}, ["K2: better."], [figure("K2", OURS, 1, 6, [1.0]), figure("new", OURS, 1, 6, [1.0])], [], []
    )
    before = msgspec.structs.replace(results, notes=["K2: old.", *results.notes])
    joined = again.keep_others(before)
    assert joined.machine == again.machine
    assert [(made.case, made.percent) for made in joined.figures] == [
        ("K2", 6),
        *(("EER, 4K", 50 - grouping) for grouping in (8, 16, 24)),
        ("new", 6),
    ]
    assert joined.notes == ["zstd is not installed.", "K2: better."]
    assert (joined.gains, joined.readings) == (results.gains, results.readings)


def test_readings_measured_again_replace_their_notes(results: Results) -> None:
    before = msgspec.structs.replace(results, notes=["Reading, x: none.", *results.notes])
    again = Results({}, {}, [], [], [], [Reading(K2, "new", OURS, "s", [1.0])])
    joined = again.keep_others(before)
    assert joined.readings == [old for old in before.readings if old.table != K2] + again.readings
    assert joined.notes == results.notes
    assert joined.figures == results.figures


def test_a_contest_runs_installed_programs(tmp_path: Path) -> None:
    (tmp_path / "movies").mkdir()
    names = ["movies/a", "movies/b"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(10))
    copy = Competitor("cp", "cp", "result/*", {"all": lambda movies: ["cp", *movies, "result"]})
    missing = Competitor("none", "no-such-program", "*", {})
    notes: list[str] = []
    (made,) = Contest("odd", tmp_path, names, 2, notes).hold([copy, missing])
    assert (made.movies, made.original_bytes, made.stored_bytes, len(made.seconds)) == (2, 20, 20, 2)
    assert notes == ["odd: no-such-program is not installed."]
    assert not list((tmp_path / "result").iterdir())


def test_peak_memory_of_the_children_and_output(tmp_path: Path) -> None:
    child = "import time; data = b'1' * 500_000_000; print(len(data), flush=True); time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = run([sys.executable, "-c", parent], tmp_path)
    assert done.core_seconds > 0
    assert done.output == "500000000\n"
    assert done.peak_bytes > 500_000_000
    with pytest.raises(SystemExit, match="no luck"):
        run([sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path)


def test_pixels(tmp_path: Path) -> None:
    values = np.arange(3 * 4 * 100, dtype=np.int16).reshape(3, 4, 100)

    def said(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> str:
        for name, frames in (("ours", ours), ("theirs", theirs)):
            tifffile.imwrite(tmp_path / name, frames, photometric="minisblack")
        return compare(tmp_path / "ours", tmp_path / "theirs")

    assert said(values.astype(np.uint16), values) == "all pixels of frames 0, 1, 2 of cryofs and RELION are the same."
    assert "same (944 values above 255" in said(np.minimum(values, 255).astype(np.uint8), values)
    assert said(values[::-1], values).startswith("800 pixels")
    assert said(values[:2], values) == "RELION wrote 3 frames, cryofs 2."
