"""A run of compress: what is archived under which name, skipped, and refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.archive.info import describe
from cryofs.compress import writer
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.errors import ArchiveError, FormatError
from cryofs.movies.registry import open_movie
from cryofs.storage.checksum_lists import LIST_NAME
from tests.support import archive, assert_verified, keep_group_out, names, same_tree, simulated


def test_the_tree_of_a_folder_is_kept(tmp_path: Path) -> None:
    session = tmp_path / "session"
    simulated(session / "a" / "one.mrc")
    simulated(session / "two.mrcs", seed=1)
    (session / "a" / "notes.txt").write_text("300 kV")
    (session / "empty folder").mkdir()
    (session / "a" / "link").symlink_to("notes.txt")
    (session / "dangling").symlink_to("nowhere")
    summary, _ = archive(session, tmp_path / "archive")
    assert names(tmp_path / "archive") == [
        "a/link",
        "a/notes.txt",
        "a/one.mrc.tif",
        "dangling",
        "gain-reference.mrc",
        "two.mrcs.tif",
    ]
    assert (tmp_path / "archive" / "empty folder").is_dir()
    assert (summary.movies, summary.failed, summary.skipped) == (2, 0, 0)
    assert summary.original_bytes == sum(path.stat().st_size for path in session.rglob("*.mrc*"))
    assert summary.stored_bytes == sum(path.stat().st_size for path in (tmp_path / "archive").rglob("*.tif"))


def test_unfinished_movies_alone_are_done(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    simulated(session / "one.mrc")
    archive(session, target)
    before = (target / "one.mrc.tif").stat().st_mtime_ns
    simulated(session / "two.mrc", seed=1)
    summary, _ = archive(session, target, CompressOptions(only_do_unfinished=True))
    assert (summary.movies, summary.skipped) == (1, 1)
    assert (target / "one.mrc.tif").stat().st_mtime_ns == before
    assert_verified(target, 2)


def test_a_movie_that_changed_since_is_not_finished(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    simulated(session / "one.mrc")
    archive(session, target)
    simulated(session / "one.mrc", frames=7, seed=5)
    summary, _ = archive(session, target, CompressOptions(only_do_unfinished=True))
    assert summary.movies == 1
    assert open_movie(target / "one.mrc.tif").shape[0] == 7


def test_names_need_not_be_unicode_and_modes_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"K2 \xe9\xff.mrc")
    movie = simulated(tmp_path / "session" / name)
    movie.chmod(0o640)
    _, reported = archive(tmp_path / "session", tmp_path / "archive")
    assert not reported.errors
    assert (tmp_path / "archive" / (name + ".tif")).stat().st_mode & 0o777 == 0o640
    assert_verified(tmp_path / "archive", 1)


@pytest.mark.parametrize(
    ("mode", "dtype", "late", "expected"),
    [(1, "<i2", -1, "int8"), (1, "<i2", 300, "uint16"), (1, "<i2", -300, "int16"), (6, "<u2", 256, "uint16")],
)
def test_the_pixel_type_widens_when_a_later_frame_needs_it(
    tmp_path: Path, mode: int, dtype: str, late: int, expected: str
) -> None:
    values = np.random.default_rng(0).poisson(2, (9, 300, 20)).astype(dtype)
    values[2, 150, 7] = late  # in no sample
    (tmp_path / "movie.mrc").write_bytes(header((9, 300, 20), mode) + values.tobytes())
    archive(tmp_path / "movie.mrc", tmp_path / "archive", CompressOptions(coding=Coding(narrow="exact")))
    facts = describe(tmp_path / "archive" / "movie.mrc.tif")
    assert (facts["stored_dtype"], facts["exceptions"]) == (expected, 0)
    assert_verified(tmp_path / "archive", 1)


def test_a_movie_too_large_for_classic_tiff_becomes_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CLASSIC_LIMIT", writer._CLASSIC_MARGIN + 20_000)
    archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive")
    assert (tmp_path / "archive" / "movie.mrc.tif").read_bytes()[:4] == b"II+\0"
    assert_verified(tmp_path / "archive", 1)


def test_bad_movies_are_failures_on_request_and_the_rest_is_done(tmp_path: Path) -> None:
    session = tmp_path / "session"
    good = simulated(session / "good.mrc").read_bytes()
    (session / "truncated.mrc").write_bytes(good[:-1])
    (session / "empty.mrc").write_bytes(b"")
    (session / "fourier.mrc").write_bytes(header((1, 4, 4), 4) + bytes(128))
    summary, reported = archive(session, tmp_path / "archive", CompressOptions(strict=True))
    assert (summary.movies, summary.failed) == (1, 3)
    assert {path.name for path in reported.errors} == {"truncated.mrc", "empty.mrc", "fourier.mrc"}
    assert all(isinstance(error, FormatError) and path.name in str(error) for path, error in reported.errors.items())
    assert names(tmp_path / "archive") == ["gain-reference.mrc", "good.mrc.tif"]


def test_a_name_that_two_files_want_is_refused(tmp_path: Path) -> None:
    session = tmp_path / "session"
    simulated(session / "movie.mrc")
    (session / "movie.mrc.tif").write_bytes(b"of another program")
    _, reported = archive(session, tmp_path / "archive")
    (error,) = reported.errors.values()
    assert isinstance(error, ArchiveError)
    assert "rename" in str(error)


def test_lists_keep_the_paths_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    simulated(tmp_path / "Movies" / "one.mrc")
    simulated(tmp_path / "elsewhere" / "two.mrc", seed=1)
    absolute = tmp_path / "elsewhere" / "two.mrc"
    (tmp_path / "movies.star").write_text(
        "data_\n\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\n"
        f"Movies/one.mrc 1\n{absolute} 1\nMovies/gone.mrc 1\n"
    )
    (tmp_path / "movies.lst").write_text("Movies/one.mrc\n")
    summary, reported = archive(Path("movies.star"), tmp_path / "a")
    assert (summary.movies, summary.failed) == (2, 1)
    assert "gone.mrc" in str(next(iter(reported.errors.values())))
    assert names(tmp_path / "a") == sorted(
        ["gain-reference.mrc", "Movies/one.mrc.tif", str(absolute.relative_to("/")) + ".tif"]
    )
    archive(Path("movies.lst"), tmp_path / "b")
    assert names(tmp_path / "b") == ["Movies/one.mrc.tif", "gain-reference.mrc"]


def test_an_archive_inside_its_source_does_not_swallow_itself(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "movie.mrc")
    for _ in range(2):
        summary, _ = archive(tmp_path / "session", tmp_path / "session" / "archive")
        assert summary.movies == 1
    assert names(tmp_path / "session" / "archive") == ["gain-reference.mrc", "movie.mrc.tif"]


def test_a_folder_is_not_an_archive_of_itself(tmp_path: Path) -> None:
    simulated(tmp_path / "movie.mrc")
    _, reported = archive(tmp_path, tmp_path)
    assert "same folder" in str(reported.errors[tmp_path])
    assert names(tmp_path) == ["movie.mrc"]


def test_folder_times_and_modes_are_kept(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    (session / "deep" / "er").mkdir(parents=True)
    (session / "deep" / "er" / "notes.txt").write_text("x")
    (session / "deep" / "er").chmod(0o750)
    os.utime(session / "deep", ns=(10**18, 10**18 + 123456789))
    session.chmod(0o750)
    os.utime(session, ns=(10**18, 10**18))
    target.mkdir(0o701)
    archive(session, target)
    same_tree(session, target, ignore=LIST_NAME)
    # the folder that was named keeps its own
    assert target.stat().st_mode & 0o777 == 0o701
    assert target.stat().st_mtime_ns > 10**18


def test_folders_keep_their_access_lists_and_files_do_not(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    movie = simulated(session / "Movies" / "a.mrc", frames=4)
    (session / "Movies" / "notes.txt").write_text("x")
    for path in (movie, movie.with_name("notes.txt"), movie.parent):
        keep_group_out(path)
    archive(session, target)
    listed = [path for path in (target, *target.rglob("*")) if "system.posix_acl_access" in os.listxattr(path)]
    assert listed == [target / "Movies"]


def test_a_link_that_changed_is_changed_in_the_archive(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    link = session / "latest"
    for name in ("one", "two"):
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        summary, _ = archive(session, target)
        assert summary.failed == 0
        assert (target / "latest").readlink() == Path(name)
    (target / "latest").unlink()
    (target / "latest").write_text("a file of the user")
    summary, reported = archive(session, target)
    assert summary.failed == 1
    assert "remove it" in str(reported.errors[link])
    assert (target / "latest").read_text() == "a file of the user"
    assert names(target) == ["latest"]
