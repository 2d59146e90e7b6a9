"""Checks of an archive: an intact one, and one with each kind of problem."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cryofs.config.settings import FILE_NAME
from cryofs.doctor import archive as doctor_archive
from cryofs.doctor.finding import Finding, Level
from cryofs.storage.atomic_file import draft
from tests.support import SHAPE, archive, left_draft, simulated

FRAME_BYTES = 4 * SHAPE[0] * SHAPE[1]
Usage = namedtuple("Usage", "free")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archive of two movies that need a gain reference."""
    folder = tmp_path_factory.mktemp("checks")
    for number in range(2):
        simulated(folder / "session" / "Movies" / f"{number}.mrc", frames=20, seed=number)
    (folder / "session" / "notes.txt").write_text("300 kV")
    archive(folder / "session", folder / "archive")
    return folder / "archive"


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """Copy of the archive that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "archive"))


def problems(place: Path) -> list[Finding]:
    return [finding for finding in doctor_archive.check_archive(place) if finding.level is not Level.OK]


def only_problem(place: Path) -> Finding:
    (found,) = problems(place)
    return found


def test_intact_archive(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not problems(place)
    monkeypatch.chdir(place.parent)
    assert not problems(Path("archive"))
    seen = doctor_archive.survey(place)
    assert (seen.folders, seen.files, len(seen.records)) == (2, 4, 2)
    assert seen.largest_frame == FRAME_BYTES
    assert seen.largest_file == max(path.stat().st_size for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["missing", "changed"])
def test_gain_references_must_exist(place: Path, how: str) -> None:
    reference = place / "gain-reference.mrc"
    data = reference.read_bytes()
    if how == "missing":
        reference.unlink()
    else:
        reference.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    found = only_problem(place)
    assert found.level is Level.PROBLEM
    assert "gain reference gain-reference.mrc" in found.what
    assert "Movies/0.mrc.tif and 1 more movies" in found.what
    assert str(place) in found.remedy
    # next to the movies and under another name is valid too
    (place / "Movies" / "gain-reference-01234567.mrc").write_bytes(data)
    assert not problems(place)


def test_records_must_be_intact(place: Path) -> None:
    movie = place / "Movies" / "1.mrc.tif"
    os.truncate(movie, movie.stat().st_size - 1)
    found = only_problem(place)
    assert found.level is Level.PROBLEM
    assert str(movie) in found.what
    assert "cryofs verify" in found.remedy


@pytest.mark.parametrize("text", ["cache_sise = 1\n", 'eer_gain = "nowhere.gain"\n'])
def test_settings_must_be_valid(place: Path, text: str) -> None:
    (place / FILE_NAME).write_text(text)
    found = only_problem(place)
    assert found.level is Level.PROBLEM
    assert str(place / FILE_NAME) in found.what


def test_gain_reference_of_eer_movies_must_be_valid(place: Path) -> None:
    gain = np.ones((4, 4), np.float32)
    (place / FILE_NAME).write_text('eer_gain = "falcon.gain"\n')
    tifffile.imwrite(place / "falcon.gain", gain)
    assert not problems(place)
    gain[1, 2] = np.nan
    tifffile.imwrite(place / "falcon.gain", gain)
    found = only_problem(place)
    assert found.level is Level.WARNING
    assert "1 pixel without a valid gain" in found.what
    assert "row 1 column 2" in found.what
    tifffile.imwrite(place / "falcon.gain", -np.ones((4, 4), np.float32))
    assert only_problem(place).level is Level.PROBLEM


def test_unfinished_files_of_an_interrupted_run(place: Path) -> None:
    stale = left_draft(place / "Movies")
    stale.write_bytes(b"unfinished")
    with draft(place / "Movies" / "2.mrc.tif"):
        found = only_problem(place)
    assert found.level is Level.WARNING
    assert found.what.startswith(f"{stale} ")
    assert "--only-do-unfinished" in found.remedy


def test_unfinished_files_of_a_running_process_are_ignored(place: Path) -> None:
    with draft(place / "Movies" / "2.mrc.tif"):
        assert not problems(place)


def test_free_space_for_one_more_movie(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(doctor_archive.survey(place).largest_file))
    found = only_problem(place)
    assert found.level is Level.WARNING
    assert "free some space" in found.remedy


def test_folder_without_movies_is_a_warning(tmp_path: Path) -> None:
    assert only_problem(tmp_path).level is Level.WARNING


@pytest.mark.parametrize(("kind", "slow"), [("nfs4", True), ("fuse.sshfs", True), ("xfs", False)])
def test_file_systems_with_slow_small_reads(place: Path, tmp_path: Path, kind: str, slow: bool) -> None:
    table = tmp_path / "mountinfo"
    real = os.path.realpath(tmp_path)
    table.write_text(f"22 1 0:1 / / rw - ext4 x rw\n23 22 0:2 / {real} rw - {kind} x rw\n")
    found = doctor_archive.check_file_system(place, table)
    assert found.level is Level.OK
    assert f"on {kind}" in found.what
    assert bool(found.remedy) is slow


def test_links_pipes_and_drafts_are_skipped(place: Path) -> None:
    (place / "link").symlink_to("nowhere")
    os.mkfifo(place / "Movies" / "pipe.mrc.tif")
    with draft(place / "Movies" / "2.mrc.tif"):
        assert not problems(place)
        seen = doctor_archive.survey(place)
    assert seen.files == 4
    assert "(a sample)" not in doctor_archive.check_readable(place, seen).what


def test_large_archives_are_sampled(tmp_path: Path) -> None:
    for folder in range(4):
        (tmp_path / str(folder)).mkdir()
        for number in range(7):
            (tmp_path / str(folder) / f"{number}.txt").touch()
    seen = doctor_archive.survey(tmp_path, folders=3, files_per_folder=3)
    assert (seen.folders, seen.files, seen.sampled) == (3, 6, True)
    for files_per_folder, sampled in ((6, True), (7, False)):
        seen = doctor_archive.survey(tmp_path, files_per_folder=files_per_folder)
        assert ("(a sample)" in doctor_archive.check_readable(tmp_path, seen).what) is sampled
