"""Whole sessions: a gain that changed in the middle, lists of movies, bad movies among good ones, large ones again."""

import hashlib
import os
from pathlib import Path

import pytest

from benchmarks.simulate import Detector, header
from cryofs.archive.info import describe
from cryofs.compress.movie_task import Archiver, CompressOptions
from cryofs.movies.mrc import MrcMovie
from tests.support import (
    DETECTOR,
    SHAPE,
    archive,
    assert_verified,
    movies_star,
    names,
    restored,
    run_in_process,
    same_tree,
    simulated,
)

FRAMES = 20
LATER = Detector.make(SHAPE, defects=20, seed=77)
# all defects that are not 0 by chance, and little else
FEW_EXCEPTIONS = FRAMES * (20 + 5)
DONE = 2000


def session_with_two_gains(folder: Path) -> Path:
    for number in range(6):
        name = folder / "Movies" / f"{number}.mrc"
        simulated(name, FRAMES, seed=number, detector=DETECTOR if number < 3 else LATER)
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_stored_by_two_gains(session: Path, target: Path, folder: Path) -> None:
    """Assert that movies are counts under the right one of two references, and come back."""
    first, second = sorted(target.glob("gain-reference*.mrc"), key=lambda path: len(path.name))
    assert first.name == "gain-reference.mrc"
    assert second.name == f"gain-reference-{sha256(second)[:8]}.mrc"
    for number in range(6):
        facts = describe(target / "Movies" / f"{number}.mrc.tif")
        reference = first if number < 3 else second
        assert facts["gain"]["name"] == reference.name
        assert facts["gain"]["sha256"] == sha256(reference)
        assert facts["stored_dtype"] == "uint8"
        assert facts["exceptions"] <= FEW_EXCEPTIONS
    same_tree(session, restored(target, folder))


def test_a_gain_that_changed_in_the_middle_makes_two_references(tmp_path: Path) -> None:
    session = session_with_two_gains(tmp_path / "session")
    summary, reported = archive(session, tmp_path / "archive")
    assert (summary.movies, summary.failed) == (6, 0)
    assert reported.counted_frames == reported.expected_frames
    assert_stored_by_two_gains(session, tmp_path / "archive", tmp_path / "restored")


def test_a_gain_that_changed_between_two_runs_makes_a_second_reference(tmp_path: Path) -> None:
    session = session_with_two_gains(tmp_path / "session")
    later = [session / "Movies" / f"{number}.mrc" for number in range(3, 6)]
    for path in later:
        path.rename(tmp_path / path.name)
    archive(session, tmp_path / "archive")
    known = (tmp_path / "archive" / "gain-reference.mrc").read_bytes()
    for path in later:
        (tmp_path / path.name).rename(path)
    summary, _ = archive(session, tmp_path / "archive", CompressOptions(only_do_unfinished=True, jobs=2))
    assert (summary.movies, summary.skipped, summary.failed) == (3, 3, 0)
    assert (tmp_path / "archive" / "gain-reference.mrc").read_bytes() == known
    assert_stored_by_two_gains(session, tmp_path / "archive", tmp_path / "restored")


def test_both_references_serve_later_runs(tmp_path: Path) -> None:
    session = session_with_two_gains(tmp_path / "session")
    archive(session, tmp_path / "archive")
    references = sorted(tmp_path.glob("archive/gain-reference*.mrc"))
    _, reported = archive(session, tmp_path / "archive")
    assert not reported.rows
    assert sorted(tmp_path.glob("archive/gain-reference*.mrc")) == references
    assert_stored_by_two_gains(session, tmp_path / "archive", tmp_path / "restored")


LISTS = {
    "optics.star": movies_star("Movies/one.mrc", 1.06) + "Movies/two.mrcs 1\n",
    "old.star": "\ndata_\n\nloop_\n_rlnMicrographMovieName\nMovies/one.mrc\nMovies/two.mrcs\n\n",
    "plain.lst": "Movies/one.mrc\n\nMovies/two.mrcs",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_all_kinds_name_the_movies_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, movie in enumerate(("one.mrc", "two.mrcs", "unlisted.mrc")):
        simulated(tmp_path / "Movies" / movie, seed=number)
    Path(name).write_text(LISTS[name])
    summary, reported = archive(Path(name), tmp_path / "archive")
    assert not reported.errors
    assert summary.movies == 2
    assert names(tmp_path / "archive") == ["Movies/one.mrc.tif", "Movies/two.mrcs.tif", "gain-reference.mrc"]
    assert_verified(tmp_path / "archive", 2)


def test_a_truncated_movie_in_a_list_is_reported_and_the_rest_is_done(tmp_path: Path) -> None:
    movies = [simulated(tmp_path / f"{number}.mrc", seed=number) for number in range(3)]
    os.truncate(movies[1], movies[1].stat().st_size - 4)
    (tmp_path / "movies.lst").write_text("".join(f"{path.name}\n" for path in movies))
    done = run_in_process("compress", "movies.lst", "-o", "archive", "--strict", check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("2 movies, 1 failed, 0 skipped: ")
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("cryofs: "))
    assert "1.mrc" in line
    assert names(tmp_path / "archive") == ["0.mrc.tif", "2.mrc.tif", "gain-reference.mrc"]
    assert_verified(tmp_path / "archive", 2)


def test_thousands_of_movies_that_are_done_are_passed_over_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    movie = session / "0.mrc"
    movie.write_bytes(header((2, 5, 6), 0) + bytes(2 * 5 * 6))
    archive(movie, target)
    for number in range(1, DONE):
        (session / f"{number}.mrc").hardlink_to(movie)
        (target / f"{number}.mrc.tif").hardlink_to(target / "0.mrc.tif")
    (session / "new.mrc").write_bytes(header((2, 5, 6), 0) + bytes(2 * 5 * 6))

    def never(*_: object) -> None:
        raise AssertionError("a movie that is done was touched")

    options = CompressOptions(only_do_unfinished=True, jobs=2)
    summary, reported = archive(session, target, options)
    assert (summary.movies, summary.skipped, summary.failed) == (1, DONE, 0)
    assert reported.done == [Path("new.mrc.tif")]
    monkeypatch.setattr(Archiver, "store", never)
    monkeypatch.setattr(MrcMovie, "read_rows", never)
    summary, reported = archive(session, target, options)
    assert (summary.movies, summary.skipped, summary.failed) == (0, DONE + 1, 0)
    assert reported.expected_frames == 0
