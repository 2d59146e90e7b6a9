"""A run of compress: what is done, skipped, refused, and what stays behind when something goes wrong."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import Detector, header, write_movie
from cryofs.archive.info import describe
from cryofs.codecs import lzw_kernels
from cryofs.compress import writer
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.errors import ArchiveError, ChangedError, CryofsError, FormatError
from cryofs.formats.tiff_writer import TiffMovieWriter
from cryofs.gain import references
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.mrc import MrcMovie
from cryofs.movies.registry import open_movie
from cryofs.storage.atomic_file import DRAFT_PREFIX, OWN_PREFIX, Draft
from cryofs.storage.checksum_lists import LIST_NAME
from tests.support import (
    DETECTOR,
    SHAPE,
    archive,
    assert_verified,
    keep_group_out,
    movie_values,
    names,
    same_tree,
    simulated,
)


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


def test_movies_are_stored_as_counts_in_a_tenth_of_the_space(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "movie.mrc", frames=20)
    summary, _ = archive(tmp_path / "session", tmp_path / "archive")
    facts = describe(tmp_path / "archive" / "movie.mrc.tif")
    assert summary.ratio is not None
    assert summary.ratio < 0.075
    assert facts["stored_dtype"] == "uint8"
    assert facts["gain"]["name"] == "gain-reference.mrc"
    # all defects that are not 0 by chance, and little else
    assert 0 < facts["exceptions"] <= 20 * (len(DETECTOR.defects) + 5)


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


def test_a_movie_that_changed_since_is_no_finished_one(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    simulated(session / "one.mrc")
    archive(session, target)
    simulated(session / "one.mrc", frames=7, seed=5)
    summary, _ = archive(session, target, CompressOptions(only_do_unfinished=True))
    assert summary.movies == 1
    assert open_movie(target / "one.mrc.tif").shape[0] == 7


def test_a_later_run_uses_the_reference_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive(simulated(tmp_path / "one.mrc", frames=20), target)
    _, heard = archive(simulated(tmp_path / "two.mrc", seed=1), target)
    assert not heard.rows
    assert [path.name for path in target.glob("gain*")] == ["gain-reference.mrc"]


def test_two_gains_get_two_references(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    other = Detector.make(SHAPE, defects=20, seed=77)
    for number in range(2):
        simulated(session / f"a{number}.mrc", frames=20, seed=number)
        simulated(session / f"b{number}.mrc", frames=20, seed=number, detector=other)
    summary, _ = archive(session, target)
    assert len(list(target.glob("gain-reference*.mrc"))) == 2
    assert summary.ratio is not None
    assert summary.ratio < 0.08
    assert_verified(target, 4)


def test_a_gain_applied_in_double_precision_still_saves(tmp_path: Path) -> None:
    gain = DETECTOR.gain * (1 + np.random.default_rng(1).uniform(-1, 1, SHAPE) * 2.0**-26)
    counts = np.random.default_rng(0).poisson(1.45, (30, *SHAPE))
    values = (counts * gain.astype(np.float64)).astype(np.float32)
    (tmp_path / "movie.mrc").write_bytes(header((30, *SHAPE), 2) + values.tobytes())
    summary, _ = archive(tmp_path / "movie.mrc", tmp_path / "archive")
    assert summary.ratio is not None
    assert summary.ratio < 0.15
    assert_verified(tmp_path / "archive", 1)


def test_few_electrons_need_many_movies_for_one_reference(tmp_path: Path) -> None:
    for number in range(6):
        write_movie(tmp_path / f"{number}.mrc", DETECTOR, 20, mean=0.02, seed=number)
    (tmp_path / "movies.lst").write_text("".join(f"{number}.mrc\n" for number in range(6)))
    _, heard = archive(tmp_path / "movies.lst", tmp_path / "archive")
    assert len({row.movie for row in heard.rows}) == 6
    assert len(list((tmp_path / "archive").glob("gain*"))) == 1
    assert_verified(tmp_path / "archive", 6)


def test_values_without_a_common_gain_make_no_reference(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 40, 50)).astype(np.float32)
    (tmp_path / "movie.mrc").write_bytes(header((20, 40, 50), 2) + values.tobytes())
    archive(tmp_path / "movie.mrc", tmp_path / "archive")
    assert names(tmp_path / "archive") == ["movie.mrc.tif"]
    assert describe(tmp_path / "archive" / "movie.mrc.tif")["stored_dtype"] == "float32"


def test_no_gain_on_request(tmp_path: Path) -> None:
    archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive", CompressOptions(gain="none"))
    assert names(tmp_path / "archive") == ["movie.mrc.tif"]
    assert_verified(tmp_path / "archive", 1)


def test_a_given_reference_is_taken_into_the_archive(tmp_path: Path) -> None:
    reference = tmp_path / "mine.mrc"
    reference.write_bytes(header((1, *SHAPE), 2) + DETECTOR.gain.tobytes())
    options = CompressOptions(gain=reference)
    _, heard = archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive", options)
    assert not heard.rows
    assert (tmp_path / "archive" / "gain-reference.mrc").read_bytes() == reference.read_bytes()
    assert describe(tmp_path / "archive" / "movie.mrc.tif")["gain"]["name"] == "gain-reference.mrc"


def test_a_given_reference_of_another_size_is_told(tmp_path: Path) -> None:
    reference = tmp_path / "mine.mrc"
    reference.write_bytes(header((1, 5, 6), 2) + np.ones((5, 6), np.float32).tobytes())
    _, heard = archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive", CompressOptions(gain=reference))
    assert any("movie.mrc" in note and "size mismatch" in note for note in heard.notes)
    assert_verified(tmp_path / "archive", 1)


def test_a_reference_of_another_run_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = b"written by another run a moment ago"
    original = references.estimate_from

    def meanwhile(*arguments: Any) -> Any:
        (tmp_path / "archive" / "gain-reference.mrc").write_bytes(theirs)
        return original(*arguments)

    monkeypatch.setattr("cryofs.compress.session_gains.estimate_from", meanwhile)
    archive(simulated(tmp_path / "movie.mrc"), tmp_path / "archive")
    assert (tmp_path / "archive" / "gain-reference.mrc").read_bytes() == theirs
    assert_verified(tmp_path / "archive", 1)


def test_names_need_not_be_unicode_and_modes_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"K2 \xe9\xff.mrc")
    movie = simulated(tmp_path / "session" / name)
    movie.chmod(0o640)
    _, heard = archive(tmp_path / "session", tmp_path / "archive")
    assert not heard.errors
    assert (tmp_path / "archive" / (name + ".tif")).stat().st_mode & 0o777 == 0o640
    assert_verified(tmp_path / "archive", 1)


def test_a_wrong_reference_costs_size_and_no_pixel(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.mrc"
    wrong.write_bytes(header((1, *SHAPE), 2) + (DETECTOR.gain * np.float32(1.01)).tobytes())
    movie = simulated(tmp_path / "session" / "movie.mrc")
    summary, heard = archive(movie, tmp_path / "archive", CompressOptions(gain=wrong))
    assert not heard.errors
    assert summary.ratio is not None
    assert summary.ratio < 0.6
    assert_verified(tmp_path / "archive", 1)


def test_exceptions_that_cost_more_than_they_save_make_a_plain_movie(tmp_path: Path) -> None:
    # the gain holds in the frames that are sampled, and in no other
    values = movie_values(13)
    other = [index for index in range(13) if index not in (0, 6, 12)]
    values[other] *= np.random.default_rng(0).uniform(0.5, 2, (10, *SHAPE)).astype(np.float32)
    movie = tmp_path / "movie.mrc"
    movie.write_bytes(header((13, *SHAPE), 2) + values.tobytes())
    reference = tmp_path / "mine.mrc"
    reference.write_bytes(header((1, *SHAPE), 2) + DETECTOR.gain.tobytes())
    _, heard = archive(movie, tmp_path / "archive", CompressOptions(gain=reference))
    facts = describe(tmp_path / "archive" / "movie.mrc.tif")
    assert (facts["stored_dtype"], facts["exceptions"]) == ("float32", 0)
    assert heard.counted_frames == heard.expected_frames
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
    summary, heard = archive(session, tmp_path / "archive", CompressOptions(strict=True))
    assert (summary.movies, summary.failed) == (1, 3)
    assert {path.name for path in heard.errors} == {"truncated.mrc", "empty.mrc", "fourier.mrc"}
    assert all(isinstance(error, FormatError) and path.name in str(error) for path, error in heard.errors.items())
    assert names(tmp_path / "archive") == ["gain-reference.mrc", "good.mrc.tif"]


def test_a_name_that_two_files_want_is_refused(tmp_path: Path) -> None:
    session = tmp_path / "session"
    simulated(session / "movie.mrc")
    (session / "movie.mrc.tif").write_bytes(b"somebody else's")
    _, heard = archive(session, tmp_path / "archive")
    (error,) = heard.errors.values()
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
    summary, heard = archive(Path("movies.star"), tmp_path / "a")
    assert (summary.movies, summary.failed) == (2, 1)
    assert "gone.mrc" in str(next(iter(heard.errors.values())))
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


def test_a_folder_is_no_archive_of_itself(tmp_path: Path) -> None:
    simulated(tmp_path / "movie.mrc")
    _, heard = archive(tmp_path, tmp_path)
    assert "same folder" in str(heard.errors[tmp_path])
    assert names(tmp_path) == ["movie.mrc"]


def write_into(movie: Path) -> None:
    with movie.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    os.utime(movie, ns=(1, 1))


def cut_short(movie: Path) -> None:
    os.truncate(movie, movie.stat().st_size - 1)


@pytest.mark.parametrize("alter", [os.utime, write_into, cut_short])
def test_a_movie_written_to_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Callable[[Path], None]
) -> None:
    movie = simulated(tmp_path / "movie.mrc")
    os.utime(movie, ns=(0, 0))
    original = MrcMovie.in_order

    def altered_halfway(self: MrcMovie, *arguments: Any) -> Iterator[Any]:
        for index, read_rows in enumerate(original(self, *arguments)):
            if index == self.shape[0] // 2:
                alter(movie)
            yield read_rows

    monkeypatch.setattr(MrcMovie, "in_order", altered_halfway)
    _, heard = archive(movie, tmp_path / "archive")
    assert isinstance(heard.errors[movie], ChangedError)
    assert names(tmp_path / "archive") == ["gain-reference.mrc"]


def test_a_disk_that_alters_frames_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = TiffMovieWriter.write_page

    def alter_middle(self: TiffMovieWriter, strips: list[bytes]) -> int:
        strip = bytearray(strips[-1])
        strip[len(strip) // 2] ^= 1
        return original(self, [*strips[:-1], bytes(strip)])

    movie = simulated(tmp_path / "movie.mrc")
    monkeypatch.setattr(TiffMovieWriter, "write_page", alter_middle)
    _, heard = archive(movie, tmp_path / "archive")
    error = heard.errors[movie]
    assert isinstance(error, ArchiveError)
    assert "checksum mismatch" in str(error)
    assert names(tmp_path / "archive") == ["gain-reference.mrc"]


@pytest.mark.parametrize("behind_pages", [-1, -50, 10], ids=["footer", "record", "blobs"])
def test_a_disk_that_alters_what_follows_the_pages_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind_pages: int
) -> None:
    movie = simulated(tmp_path / "movie.mrc")
    archive(movie, tmp_path / "archive")
    target = tmp_path / "archive" / "movie.mrc.tif"
    with ArchivedMovie(target, GainLibrary()) as archived:
        places = {True: archived.record.header.offset, False: target.stat().st_size}
    target.unlink()
    original = Draft.sync

    def alter_synced(self: Draft) -> None:
        original(self)
        place = places[behind_pages > 0] + behind_pages
        (byte,) = os.pread(self.file.fileno(), 1, place)
        os.pwrite(self.file.fileno(), bytes([byte ^ 1]), place)

    monkeypatch.setattr(Draft, "sync", alter_synced)
    _, heard = archive(movie, tmp_path / "archive")
    assert isinstance(heard.errors[movie], CryofsError)
    assert names(tmp_path / "archive") == ["gain-reference.mrc"]


def test_an_encoder_that_errs_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = lzw_kernels.encode

    def encode_another(strip: NDArray[np.uint8]) -> bytes:
        return original(strip ^ np.uint8(1))

    movie = simulated(tmp_path / "movie.mrc")
    monkeypatch.setattr(lzw_kernels, "encode", encode_another)
    _, heard = archive(movie, tmp_path / "archive", CompressOptions(coding=Coding("lzw")))
    error = heard.errors[movie]
    assert isinstance(error, ArchiveError)
    assert "checksum mismatch" in str(error)
    assert names(tmp_path / "archive") == ["gain-reference.mrc"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_or_failing_disk_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    movie = simulated(tmp_path / "movie.mrc")
    archive(movie, tmp_path / "archive")
    before = (tmp_path / "archive" / "movie.mrc.tif").read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    _, heard = archive(movie, tmp_path / "archive")
    monkeypatch.undo()
    name = tmp_path / "archive" if number == errno.ENOSPC else movie
    assert str(name) in str(heard.errors[name])
    assert os.strerror(number) in str(heard.errors[name])
    assert names(tmp_path / "archive") == ["gain-reference.mrc", "movie.mrc.tif"]
    assert (tmp_path / "archive" / "movie.mrc.tif").read_bytes() == before


def kill_and_finish(session: Path, target: Path, kills: int, movies: int) -> None:
    """Kill compress at random moments, checking each time that no damaged file has a final name; then finish."""
    rng = np.random.default_rng(0)
    compress = [sys.executable, "-m", "cryofs", "compress", str(session), "-o"]
    started = time.monotonic()
    subprocess.run([*compress, str(target.with_name("unhurried"))], check=True, capture_output=True)
    command = [*compress, str(target), "--only-do-unfinished"]
    usual = time.monotonic() - started
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.3, 1.0) * usual)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if target.is_dir():
            assert_verified(target, len(list(target.rglob("*.tif"))))
            for path in target.rglob("*"):
                if path.is_file() and path.suffix != ".tif" and not path.name.startswith((OWN_PREFIX, "gain-")):
                    assert path.read_bytes() == (session / path.relative_to(target)).read_bytes()
    subprocess.run(command, check=True, capture_output=True)
    assert_verified(target, movies, all_have_checksums=True)
    assert not list(target.rglob(DRAFT_PREFIX + "*"))


def test_killed_runs_leave_whole_files_only(tmp_path: Path) -> None:
    for number in range(3):
        simulated(tmp_path / "session" / "Movies" / f"{number}.mrc", frames=30, seed=number)
    (tmp_path / "session" / "notes.txt").write_text("300 kV" * 10000)
    kill_and_finish(tmp_path / "session", tmp_path / "archive", kills=4, movies=3)


@pytest.mark.slow
def test_twenty_kills_of_large_movies(tmp_path: Path) -> None:
    detector = Detector.make((2048, 2048), defects=300)
    for number in range(3):
        simulated(tmp_path / "session" / f"{number}.mrc", frames=30, seed=number, detector=detector)
    kill_and_finish(tmp_path / "session", tmp_path / "archive", kills=20, movies=3)


def test_drafts_of_a_running_compress_are_left_alone(tmp_path: Path) -> None:
    from cryofs.storage.atomic_file import draft, remove_stale_drafts

    with draft(tmp_path / "target") as made:
        made.file.write(b"1234")
        remove_stale_drafts(tmp_path)
        made.sync()
        made.publish()
    assert (tmp_path / "target").read_bytes() == b"1234"
    (tmp_path / (DRAFT_PREFIX + "0123")).write_bytes(b"left behind")
    (tmp_path / (DRAFT_PREFIX + "4567")).symlink_to("nowhere")
    remove_stale_drafts(tmp_path)
    assert names(tmp_path) == ["target"]


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
    (target / "latest").write_text("a file of somebody")
    summary, heard = archive(session, target)
    assert summary.failed == 1
    assert "remove it" in str(heard.errors[link])
    assert (target / "latest").read_text() == "a file of somebody"
    assert names(target) == ["latest"]


def test_a_reference_that_another_run_made_meanwhile_is_used(tmp_path: Path) -> None:
    reference = GainReference(DETECTOR.gain)
    runs = [references.References(tmp_path) for _ in range(2)]
    first, second = (run.add(reference, None) for run in runs)
    assert first.record == second.record
    assert names(tmp_path) == ["gain-reference.mrc"]
    other = runs[0].add(GainReference(DETECTOR.gain * np.float32(2)), None)
    assert names(tmp_path) == sorted(["gain-reference.mrc", other.record.name])
    assert other.record.name == f"gain-reference-{other.record.sha256[:8]}.mrc"
