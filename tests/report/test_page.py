"""The report of an archive: its figures match the archive, and a browser shows it on any screen width."""

import errno
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header, write_counts
from benchmarks.simulate_eer import Widths, random_frames, write_eer
from cryofs.archive.info import savings
from cryofs.cli.output import Reporter
from cryofs.report.inventory import by_folder, by_kind, chosen, spans, survey
from cryofs.report.page import write_report
from cryofs.storage.atomic_file import Draft
from cryofs.text import size_text
from tests.foreign import counts, serialem
from tests.support import archive, run_in_process, simulated

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
BEGIN = 1_760_000_000
LONG = "FoilHole_20934100_Data_20926877_20926879_20251009_085003_Fractions.mrc"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archive of gain-normalised movies, counts, EER, and a TIFF movie of another program."""
    session = tmp_path_factory.mktemp("report") / "session"
    for number, name in enumerate((LONG, "b.mrc", "c.mrc")):
        place = simulated(session / "Grid1" / "GridSquare_20930413" / "Data" / name, seed=number)
        os.utime(place, (BEGIN + 100 * number,) * 2)
    (session / "Grid2").mkdir()
    write_counts(session / "Grid2" / "k3.mrc", 6, (90, 70))
    os.utime(session / "Grid2" / "k3.mrc", (BEGIN + 9000,) * 2)
    write_eer(session / "x.eer", random_frames(80, (64, 80), 0.02, Widths()), (64, 80), Widths())
    os.utime(serialem(session / "y.tif", counts()), (BEGIN + 9100,) * 2)
    os.utime(session / "x.eer", (BEGIN + 9200,) * 2)
    (session / "notes.txt").write_text("300 kV")
    archive(session, session.with_name("archive"))
    return session.with_name("archive")


@pytest.fixture(scope="module")
def damaged(whole: Path) -> Path:
    """Copy of the archive without its gain reference and with a truncated movie."""
    folder = whole.with_name("damaged")
    shutil.copytree(whole, folder)
    (folder / "gain-reference.mrc").unlink()
    movie = folder / "Grid2" / "k3.mrc.tif"
    movie.write_bytes(movie.read_bytes()[:-10])
    return folder


def report(folder: Path, previews: int = 6) -> str:
    page = folder.with_suffix(".html")
    with Reporter() as reporter:
        write_report(folder, page, previews, 2, reporter.line)
    return page.read_text()


def test_figures_match_the_records(whole: Path) -> None:
    found, saved = survey(whole), savings([whole])
    assert not found.problems
    archived = [movie for movie in found.movies if movie.path.name.endswith(".mrc.tif")]
    assert len(archived) == saved.movies == 4
    assert sum(movie.original_bytes for movie in archived) == saved.original_bytes
    assert sum(movie.stored_bytes for movie in archived) == saved.stored_bytes
    assert [movie.path.name for movie in found.movies[-3:]] == ["k3.mrc.tif", "y.tif", "x.eer"]
    # notes.txt and the gain reference
    assert found.other_files == 2
    assert [path.name for path in found.references] == ["gain-reference.mrc"]


def test_groups_add_up(whole: Path) -> None:
    movies = survey(whole).movies
    for groups in (by_kind(movies), by_folder(movies, 40), by_folder(movies, 2), by_folder(movies, 1)):
        assert sum(group.movies for group in groups) == 6
        assert sum(group.stored_bytes for group in groups) == sum(movie.stored_bytes for movie in movies)
    assert {group.name for group in by_folder(movies, 40)} == {"Grid1/GridSquare_20930413/Data", "Grid2", "."}
    assert len(by_folder(movies, 2)) <= 2
    assert "257 \u00d7 300, float32, gain-normalised" in {group.name for group in by_kind(movies)}


def test_spans_contain_each_movie_once(whole: Path) -> None:
    movies = survey(whole).movies
    divided = list(spans(movies, 60))
    assert len(divided) <= 60
    assert [movie for _, _, inside in divided for movie in inside] == movies
    for begin, end, inside in divided:
        assert all(begin <= movie.time < end for movie in inside)


def test_chosen_movies_are_of_each_kind(whole: Path) -> None:
    movies = survey(whole).movies
    assert len({movie.kind for movie in chosen(movies, 4)}) == 4
    assert len(chosen(movies, 5)) == 5
    assert chosen(movies, 100) == movies
    assert chosen(movies, 0) == []


class Links(HTMLParser):
    """Parser that collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        assert tag != "script"


def test_page_is_self_contained(whole: Path) -> None:
    page = report(whole)
    links = Links()
    links.feed(page)
    assert len(links.found) == 1 + 1 + 2 * 6  # icon, gain reference, sum and spectrum of six movies
    assert all(link.startswith("data:") for link in links.found)
    assert not re.search(r"url\(|@import|https?:", page)
    saved = by_kind(survey(whole).movies)[0]
    for text in (
        saved.name,
        size_text(saved.original_bytes),
        size_text(saved.stored_bytes),
        LONG,
        "No problems found",
    ):
        assert text in page
    assert "20 = 0.0259 %" in page  # the defects of the detector


def test_problems_are_reported(damaged: Path) -> None:
    page = report(damaged)
    assert "4 files need attention" in page
    assert "no record at the end of the file" in page
    assert page.count("is missing or changed") == 1
    assert page.count(LONG) >= 1
    assert "k3.mrc.tif" in page


def test_reliability_map_is_shown(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "archive")
    reliability = np.full((1, 300, 257), 60, np.float32)
    reliability[0, 5, 7] = -8
    path = folder / "gain-reliability.mrc"
    path.write_bytes(header(reliability.shape, 2) + reliability.tobytes())
    assert "Reliability: agreeing values" in report(folder, 0)
    path.write_bytes(header((1, 10, 10), 2) + bytes(400))
    assert "Reliability: agreeing values" not in report(folder, 0)


def test_unreadable_gain_reference(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "archive")
    (folder / "gain-reference-01234567.mrc").write_bytes(b"no reference")
    page = report(folder, 0)
    assert "not readable" in page
    assert "not a valid gain reference" in page


def test_archive_without_movies(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "No movies." in report(tmp_path / "empty")


def test_command(damaged: Path, whole: Path, tmp_path: Path) -> None:
    done = run_in_process("report", whole, "-o", tmp_path / "x.html", "--previews", 1)
    assert "6 movies, 0 problems" in done.stdout
    done = run_in_process("report", damaged, "-o", tmp_path / "x.html", "--previews", 0, check=False)
    assert done.returncode == 1
    assert "5 movies, 4 problems" in done.stdout
    done = run_in_process("report", "nowhere", "-o", "x.html", check=False)
    assert done.returncode == 1
    assert "nowhere: No such file or directory; check the path" in done.stderr


def test_failed_write_keeps_the_old_page(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "x.html"
    page.write_text("old")

    def full(_: Draft) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Draft, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(whole, page, 0, 1, lambda _: None)
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


FRAMES = """<!doctype html>
<iframe src="{page}" width="400" height="900"></iframe><iframe src="{page}" width="1400" height="900"></iframe>
<script>
addEventListener("load", () => {{
  const sizes = [...document.querySelectorAll("iframe")].map((frame) => {{
    const root = frame.contentDocument.scrollingElement;
    const broken = [...frame.contentDocument.images].filter((image) => !image.naturalWidth).length;
    return `${{root.clientWidth}} ${{root.scrollWidth}} ${{broken}}`;
  }});
  document.title = sizes.join(", ");
}});
</script>
"""


@needs_chromium
@pytest.mark.parametrize("fixture", ["whole", "damaged"])
def test_browser_shows_the_page_on_any_screen_width(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(fixture)
    report(folder)
    frames = tmp_path / "frames.html"
    frames.write_text(FRAMES.format(page=folder.with_suffix(".html").as_uri()))
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path}/profile", "--enable-logging=stderr", "--dump-dom", frames.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    measured = re.search(r"<title>(.*?)</title>", done.stdout)
    assert measured is not None
    sizes = np.array([part.split() for part in measured[1].split(", ")], int)
    assert (sizes[:, 1] <= sizes[:, 0]).all(), f"client and scroll width, broken images: {sizes}"
    assert not sizes[:, 2].any()
    assert sizes[0, 0] > 350
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_plain_copies_are_listed_with_the_reason(tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    for name in ("empty.mrc", "two\nlines.mrc"):
        (session / name).write_bytes(b"")
    archive(session, tmp_path / "archive")
    found = write_report(tmp_path / "archive", tmp_path / "page.html", 0, 1, lambda _: None)
    page = (tmp_path / "page.html").read_text()
    assert (len(found.kept_plain), found.problems) == (2, [])
    assert "2 files with a movie suffix kept as plain copies" in page
    assert "two\\nlines.mrc" in page
    assert "file too short for an MRC header (0 bytes)" in page
