"""Checksums that adopt records for files that are not movies."""

import hashlib
import os
from pathlib import Path

import pytest

from cryofs.storage.checksum_lists import LIST_NAME, recorded, update
from tests.foreign import counts, serialem, write_tiff
from tests.outcomes import adopted, verified
from tests.support import cryofs as command


def test_what_is_not_adopted(tiff_archive: Path) -> None:
    big = write_tiff(tiff_archive / "big.tif", counts(dtype="uint16"), byteorder=">")
    (tiff_archive / "link.tif").symlink_to("Movies/RELION.tif")
    checked, errors = verified(tiff_archive)
    # of the movies, three could have a record; the link is not counted
    assert (checked.movies, checked.without_record, checked.without_checksum, errors) == (0, 4, 7, [])
    done, errors = adopted(tiff_archive)
    assert (done.movies, done.files, errors) == (3, 4, [])
    assert recorded(big) is not None
    assert (tiff_archive / "link.tif").is_symlink()
    checked, errors = verified(tiff_archive)
    # the link leads to an adopted movie
    assert (checked.movies, checked.files, checked.without_checksum, errors) == (4, 4, 0, [])
    serialem(tiff_archive / "new.tif", counts())
    assert "1 of these are TIFF movies without a record" in command("verify", tiff_archive).stdout


@pytest.mark.parametrize("name", ["photo.tif", "notes.txt"])
def test_other_files_get_a_checksum(tiff_archive: Path, name: str) -> None:
    before = (tiff_archive / name).read_bytes()
    assert (
        "0 movies adopted (0 B), 0 skipped, 0 failed, 1 checksums recorded"
        in command("adopt", tiff_archive / name).stdout
    )
    assert recorded(tiff_archive / name) == hashlib.sha256(before).hexdigest()
    assert (tiff_archive / name).read_bytes() == before


def test_a_checksum_that_does_not_match_is_never_replaced(tiff_archive: Path) -> None:
    movie, notes = tiff_archive / "Movies" / "RELION.tif", tiff_archive / "notes.txt"
    before = movie.read_bytes()
    for path in (movie, notes):
        update(path.parent, {path.name: "0" * 64})
    done, errors = adopted(tiff_archive)
    assert (done.movies, done.failed) == (2, 1)
    assert f"{movie}: checksum mismatch" in str(errors[0])
    assert movie.read_bytes() == before
    assert (recorded(movie), recorded(notes)) == ("0" * 64, "0" * 64)
    assert verified(tiff_archive)[0].failed == 2


def test_an_adopted_movie_needs_no_line(tiff_archive: Path) -> None:
    movie = tiff_archive / "Movies" / "RELION.tif"
    update(movie.parent, {movie.name: hashlib.sha256(movie.read_bytes()).hexdigest()})
    assert adopted(tiff_archive)[1] == []
    assert not (movie.parent / LIST_NAME).exists() or recorded(movie) is None
    done, errors = verified(tiff_archive)
    assert (done.movies, done.files, errors) == (3, 3, [])


def test_a_file_that_a_program_still_writes_gets_no_checksum(tiff_archive: Path) -> None:
    with (tiff_archive / "notes.txt").open("a"):
        done, errors = adopted(tiff_archive)
    assert (done.files, done.failed) == (2, 1)
    assert "open for writing in another program" in str(errors[0])
    assert recorded(tiff_archive / "notes.txt") is None


def test_folders_keep_their_times_and_settings_get_no_checksum(tiff_archive: Path) -> None:
    (tiff_archive / "cryofs.toml").touch()
    os.utime(tiff_archive / "Movies", ns=(10**18, 10**18))
    (tiff_archive / "Movies" / "cryofs.toml").touch()
    os.utime(tiff_archive / "Movies", ns=(10**18, 10**18))
    adopted(tiff_archive)
    assert (tiff_archive / "Movies").stat().st_mtime_ns == 10**18
    assert recorded(tiff_archive / "cryofs.toml") is None
    assert recorded(tiff_archive / "Movies" / "cryofs.toml") is not None
    assert verified(tiff_archive)[0].without_checksum == 0
