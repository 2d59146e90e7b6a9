"""TIFF movies that are not adopted: in use, changed, linked, damaged."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cryofs.archive import adopt as adopting
from cryofs.errors import ArchiveError, DamagedError, FormatError
from cryofs.movies.tiff import ForeignMovie
from tests.foreign import counts, serialem
from tests.outcomes import adopted
from tests.privileges import IS_ROOT
from tests.support import cryofs as command


@pytest.mark.parametrize("name", ["nowhere.tif", "link.tif"])
def test_files_that_were_named_are_not_skipped(tiff_archive: Path, name: str) -> None:
    (tiff_archive / "link.tif").symlink_to("photo.tif")
    done = command("adopt", tiff_archive / name, check=False)
    assert done.returncode == 1
    assert name in done.stderr
    assert "0 movies adopted" in done.stdout


def test_a_copy_that_fails_its_check_replaces_nothing(tiff_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiff_archive / "Movies" / "RELION.tif"
    before = path.read_bytes(), path.stat().st_ino

    def broken(*_: object) -> None:
        raise ArchiveError(f"{path}: came back changed")

    monkeypatch.setattr(adopting, "_check", broken)
    done, errors = adopted(path)
    assert (done.movies, done.failed, len(errors)) == (0, 1, 1)
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert not list(tiff_archive.rglob(".cryofs-draft-*"))


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"II*\0")


def replaced(path: Path) -> None:
    serialem(path.with_name("new"), counts(seed=9)).replace(path)


@pytest.mark.parametrize("meddle", [overwritten, replaced, lambda path: os.utime(path, ns=(0, 0)), Path.unlink])
def test_a_movie_that_changes_meanwhile_is_left_alone(
    tiff_archive: Path, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], None]
) -> None:
    path = tiff_archive / "Movies" / "RELION.tif"
    check, there = adopting._check, []

    def meddling(*arguments: object) -> None:
        check(*arguments)  # type: ignore[arg-type]
        meddle(path)
        there.append(path.exists() and path.read_bytes())

    monkeypatch.setattr(adopting, "_check", meddling)
    done, errors = adopted(path)
    assert (done.movies, done.failed) == (0, 1)
    assert "while it was adopted" in str(errors[0])
    assert there == [path.exists() and path.read_bytes()]


def test_a_movie_that_a_program_still_writes_is_left_alone(tiff_archive: Path) -> None:
    path = tiff_archive / "Movies" / "RELION.tif"
    frames = counts(seed=1)
    with tifffile.TiffWriter(path) as camera:
        for frame in frames[:3]:
            camera.write(frame, contiguous=False)
        camera._fh.flush()
        done, errors = adopted(path)
        assert (done.movies, done.failed) == (0, 1)
        assert "open for writing" in str(errors[0])
        for frame in frames[3:]:
            camera.write(frame, contiguous=False)
    assert adopted(path)[0].movies == 1
    with tifffile.TiffFile(path) as found:
        assert np.array_equal([page.asarray() for page in found.pages], frames)


def test_a_movie_that_a_program_begins_to_write_meanwhile_is_left_alone(
    tiff_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written nothing yet, so no time of the file has changed."""
    path = tiff_archive / "Movies" / "RELION.tif"
    before, check = path.read_bytes(), adopting._check
    with contextlib.ExitStack() as writers:

        def meeting(*arguments: object) -> None:
            check(*arguments)  # type: ignore[arg-type]
            writers.enter_context(path.open("r+b"))

        monkeypatch.setattr(adopting, "_check", meeting)
        done, errors = adopted(path)
    assert (done.movies, done.failed) == (0, 1)
    assert "open for writing" in str(errors[0])
    assert path.read_bytes() == before


def test_a_program_that_opens_a_movie_meanwhile_does_not_end_the_run(
    tiff_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks the lease by which writers are found, and the kernel reports that by a signal."""
    path = tiff_archive / "Movies" / "RELION.tif"
    lease = fcntl.fcntl

    def meeting(descriptor: int, command: int, argument: int) -> int:
        result: int = lease(descriptor, command, argument)
        if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
            # without waiting for the lease to be given back
            with pytest.raises(BlockingIOError):
                os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        return result

    monkeypatch.setattr(fcntl, "fcntl", meeting)
    assert adopted(path)[0].movies == 1


def test_one_of_several_names_is_not_adopted(tiff_archive: Path) -> None:
    path = tiff_archive / "Movies" / "RELION.tif"
    (tiff_archive / "second").hardlink_to(path)
    done, errors = adopted(path)
    assert (done.movies, done.failed) == (0, 1)
    assert "expected 1, got 2" in str(errors[0])
    assert path.samefile(tiff_archive / "second")


@pytest.mark.skipif(not IS_ROOT, reason="gives a file away")
def test_the_owner_does_not_change(tiff_archive: Path) -> None:
    path = tiff_archive / "Movies" / "RELION.tif"
    os.chown(path, 1234, 1234)
    path.chmod(0o644)

    def forbidden(*_: object) -> None:
        raise PermissionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fchown", forbidden)
        done, errors = adopted(path)
    assert (done.movies, done.failed) == (0, 1)
    assert "cannot set the owner of the adopted file (uid" in str(errors[0])
    assert adopted(path)[0].movies == 1
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)


def test_a_link_that_was_named_is_reported(tiff_archive: Path) -> None:
    (tiff_archive / "link.tif").symlink_to("Movies/RELION.tif")
    done, errors = adopted(tiff_archive / "link.tif")
    assert (done.movies, done.failed) == (0, 1)
    assert "link.tif: symbolic links cannot be adopted" in str(errors[0])
    assert (tiff_archive / "link.tif").is_symlink()


def test_a_damaged_movie_gets_no_record(tiff_archive: Path) -> None:
    path = serialem(tiff_archive / "x.tif", counts())
    with ForeignMovie(path) as movie:
        place = movie.index.pages[1].offsets[0]
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 40)
    before = path.read_bytes()
    done, errors = adopted(path)
    assert done.failed == 1
    assert isinstance(errors[0], FormatError | DamagedError)
    assert path.read_bytes() == before
