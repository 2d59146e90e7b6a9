"""Runs of compress that are killed, or whose source, disk or encoder fails."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import Detector
from cryofs.codecs import lzw
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from cryofs.errors import ArchiveError, ChangedError, CryofsError
from cryofs.formats.tiff_writer import TiffMovieWriter
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.atomic_file import DRAFT_PREFIX, OWN_PREFIX, Draft
from tests.support import archive, assert_verified, left_draft, names, simulated


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
    original = MrcMovie.row_reader

    def altered_halfway(self: MrcMovie, index: int, *arguments: Any) -> Any:
        if index == self.shape[0] // 2:
            alter(movie)
        return original(self, index, *arguments)

    monkeypatch.setattr(MrcMovie, "row_reader", altered_halfway)
    _, reported = archive(movie, tmp_path / "archive")
    assert isinstance(reported.errors[movie], ChangedError)
    assert names(tmp_path / "archive") == ["gain-reference.mrc"]


def test_a_disk_that_alters_frames_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = TiffMovieWriter.write_page

    def alter_middle(self: TiffMovieWriter, strips: list[bytes]) -> int:
        strip = bytearray(strips[-1])
        strip[len(strip) // 2] ^= 1
        return original(self, [*strips[:-1], bytes(strip)])

    movie = simulated(tmp_path / "movie.mrc")
    monkeypatch.setattr(TiffMovieWriter, "write_page", alter_middle)
    _, reported = archive(movie, tmp_path / "archive")
    error = reported.errors[movie]
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
    _, reported = archive(movie, tmp_path / "archive")
    assert isinstance(reported.errors[movie], CryofsError)
    assert names(tmp_path / "archive") == ["gain-reference.mrc"]


def test_an_encoder_that_errs_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = lzw.encode

    def encode_another(strip: NDArray[np.uint8]) -> bytes:
        return original(strip ^ np.uint8(1))

    movie = simulated(tmp_path / "movie.mrc")
    monkeypatch.setattr(lzw, "encode", encode_another)
    _, reported = archive(movie, tmp_path / "archive", CompressOptions(coding=Coding("lzw")))
    error = reported.errors[movie]
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
    _, reported = archive(movie, tmp_path / "archive")
    monkeypatch.undo()
    name = tmp_path / "archive" if number == errno.ENOSPC else movie
    assert str(name) in str(reported.errors[name])
    assert os.strerror(number) in str(reported.errors[name])
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
                is_copy = OWN_PREFIX not in str(path) and "gain-" not in path.name
                if path.is_file() and path.suffix != ".tif" and is_copy:
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
    link = left_draft(tmp_path)
    link.unlink()
    link.symlink_to("nowhere")
    left_draft(tmp_path)
    remove_stale_drafts(tmp_path)
    assert names(tmp_path) == ["target"]
