"""Files that a run of compress may not overwrite, and its reports of files that it replaces."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cryofs.archive.scan import collect
from cryofs.compress import writer
from cryofs.compress.folders import Folders
from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import ArchiveError, ChangedError
from cryofs.storage import atomic_file, file_copy
from tests.foreign import counts, serialem
from tests.outcomes import adopted
from tests.support import archive, assert_verified, names, restored, same_tree, simulated

pytestmark = pytest.mark.timeout(60)
UNFINISHED = CompressOptions(only_do_unfinished=True, jobs=1)
PLAIN = CompressOptions(gain="none", only_do_unfinished=True, jobs=1)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_tiff_is_not_replaced_by_a_movie(tmp_path: Path, is_adopted: bool) -> None:
    target = tmp_path / "archive"
    archive(serialem(tmp_path / "first" / "a.mrc.tif", counts(seed=1)).parent, target)
    if is_adopted:
        assert adopted(target)[0].movies == 1
    kept = (target / "a.mrc.tif").read_bytes()
    movie = simulated(tmp_path / "second" / "a.mrc", 3)
    _, reported = archive(movie.parent, target, PLAIN)
    assert "rename the movie" in str(reported.errors[movie])
    assert (target / "a.mrc.tif").read_bytes() == kept


def test_another_original_of_the_same_name_is_reported(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    for number in (1, 2):
        session = tmp_path / f"session {number}"
        simulated(session / "a.mrc", 3 + number)
        write(session / "notes.txt", "x" * number)
        os.utime(session / "a.mrc", ns=(0, number * 10**18))
        summary, reported = archive(session, target, PLAIN)
        assert not reported.errors
        assert summary.replaced == 2 * (number - 1)
    movie, notes = reported.notes
    assert "a.mrc.tif: replaced another original" in movie
    assert "2001-09-09T01:46:40" in movie
    assert "notes.txt: replaced another original with this name in the archive (1 bytes" in notes
    summary, reported = archive(session, target, CompressOptions(gain="none", jobs=1))
    assert (summary.movies, summary.replaced, reported.notes) == (1, 0, [])


def test_a_damaged_movie_is_replaced_and_reported(tmp_path: Path) -> None:
    session, target = simulated(tmp_path / "session" / "a.mrc", 3).parent, tmp_path / "archive"
    archive(session, target, PLAIN)
    os.truncate(target / "a.mrc.tif", (target / "a.mrc.tif").stat().st_size - 1)
    summary, reported = archive(session, target, PLAIN)
    assert summary.replaced == 1
    assert "damaged movie" in reported.notes[0]
    assert_verified(target, 1)


def test_a_link_is_neither_copy_nor_movie(tmp_path: Path) -> None:
    session, target, disk = tmp_path / "session", tmp_path / "archive", tmp_path / "disk"
    session.mkdir()
    (session / "big.dat").symlink_to(disk / "big.dat")
    archive(session, target, UNFINISHED)
    write(disk / "big.dat", "precious")
    archive(session, target, replace(UNFINISHED, links="follow"))
    assert not (target / "big.dat").is_symlink()
    assert (target / "big.dat").read_text() == "precious"
    movie = simulated(session / "a.mrc", 3)
    archive(movie, disk, PLAIN)
    (target / "a.mrc.tif").symlink_to(disk / "a.mrc.tif")
    summary, reported = archive(movie, target, PLAIN)
    assert summary.skipped == 0
    assert movie in reported.errors
    assert_verified(disk, 1)


@pytest.mark.parametrize("in_the_way", ["link", "dangling link", "file"])
def test_nothing_leads_out_of_the_archive(tmp_path: Path, in_the_way: str) -> None:
    original = write(tmp_path / "raw" / "notes.txt", "original")
    target = tmp_path / "archive"
    target.mkdir()
    if in_the_way == "file":
        write(target / "raw", "a file")
    else:
        (target / "raw").symlink_to(original.parent if in_the_way == "link" else "nowhere")
    write(tmp_path / "session" / "raw" / "notes.txt", "of another session")
    write(tmp_path / "session" / "other.txt", "stored nevertheless")
    summary, reported = archive(tmp_path / "session", target)
    assert summary.failed == len(reported.errors) == 2
    assert all("expected a folder" in str(error) for error in reported.errors.values())
    assert original.read_text() == "original"
    assert names(original.parent) == ["notes.txt"]
    assert (target / "other.txt").exists()


def test_a_source_in_the_archive_is_refused(tmp_path: Path) -> None:
    outer = write(tmp_path / "session" / "notes.txt", "outer")
    write(tmp_path / "session" / "session" / "notes.txt", "inner")
    _, reported = archive(tmp_path / "session", tmp_path)
    assert "inside the archive" in str(reported.errors[tmp_path / "session"])
    assert outer.read_text() == "outer"
    with Folders(tmp_path, [tmp_path / "session"]) as folders, pytest.raises(ArchiveError, match="both a source"):
        folders.make(Path("session"))


@pytest.mark.parametrize("same_time", [False, True])
def test_a_movie_replaced_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_time: bool
) -> None:
    movie = simulated(tmp_path / "session" / "a.mrc", 3)
    later = simulated(tmp_path / "later.mrc", 3, seed=1)
    if same_time:
        os.utime(later, ns=(0, movie.stat().st_mtime_ns))
    write_frames = writer._write_frames

    def meanwhile(*arguments: object) -> None:
        write_frames(*arguments)  # type: ignore[arg-type]
        later.replace(movie)

    monkeypatch.setattr(writer, "_write_frames", meanwhile)
    _, reported = archive(movie.parent, tmp_path / "archive", PLAIN)
    assert isinstance(reported.errors[movie], ChangedError)
    assert not names(tmp_path / "archive")


@pytest.mark.parametrize("meanwhile", [lambda one, two: one.replace(two), lambda _, two: two.unlink()])
def test_a_file_replaced_while_it_is_copied_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Path, Path], object]
) -> None:
    source, later = write(tmp_path / "session" / "notes.txt", "old"), write(tmp_path / "later.txt", "new")
    same_bytes = file_copy._same_bytes
    monkeypatch.setattr(file_copy, "_same_bytes", lambda *files: (meanwhile(later, source), same_bytes(*files))[1])
    _, reported = archive(source.parent, tmp_path / "archive")
    assert "changed or replaced" in str(reported.errors[source])
    assert not names(tmp_path / "archive")


def test_names_that_differ_by_case_only(tmp_path: Path) -> None:
    session = tmp_path / "session"
    for name in ("Notes.txt", "notes.txt", "Grid/a.txt", "grid/b.txt"):
        write(session / name, name)
    assert not atomic_file.folds_case(session)
    assert not collect([session], tmp_path / "archive")[1]
    jobs, problems = collect([session], tmp_path / "archive", folds_case=True)
    assert {problem.source.name.lower() for problem in problems} == {"notes.txt", "grid"}
    assert len({str(job.target).lower() for job in jobs}) == len(jobs)


def test_an_archive_is_not_a_session_where_movies_need_its_gain(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "a.mrc")
    archive(tmp_path / "session", tmp_path / "archive")
    needing = tmp_path / "archive" / "a.mrc.tif"
    _, reported = archive(needing, tmp_path / "other")
    assert "cp -a" in str(reported.errors[needing])
    assert not names(tmp_path / "other")
    archive(tmp_path / "session", tmp_path / "plain", PLAIN)
    _, reported = archive(tmp_path / "plain", tmp_path / "copy")
    assert not reported.errors
    same_tree(tmp_path / "session", restored(tmp_path / "copy", tmp_path / "restored"))


def test_a_movie_without_its_reference_is_not_done(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "a.mrc")
    target = tmp_path / "archive"
    archive(tmp_path / "session", target)
    (target / "gain-reference.mrc").rename(tmp_path / "gain-reference.mrc")
    summary, _ = archive(tmp_path / "session", target, UNFINISHED)
    # the estimate is the same, so the movie is done as soon as the reference is there again
    assert (summary.movies, summary.skipped, summary.replaced) == (0, 1, 0)
    assert names(target) == ["a.mrc.tif", "gain-reference.mrc"]
