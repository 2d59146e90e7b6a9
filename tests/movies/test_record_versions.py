"""Archived movies of every record version that was ever written: the original's bytes, or an error."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, DamagedError
from cryofs.formats.record import FrameVersion1
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.archived_counts import CountsMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.vfs.file_system import FileSystem
from tests.support import assert_verified

# Written by the code of the time: without any checksum of strips, with one of each frame, with one of each strip, and a
# movie of scaled integers.
RECORDS = Path(__file__).parents[1] / "data" / "records"
NAMES = ["version-1.mrc.tif", "version-1-strips-sum.mrc.tif", "version-2.mrc.tif", "version-4.mrc.tif"]
HAVE_STRIP_SUMS = NAMES[2:]
FLOATS = "95aa378043f84cdfd256cf320ce0300416feca8ff0004a7a38564946e273d86c"
INTEGERS = "bf2ad1d426f2dc96d350cbb70f42094917380bdf521c92d39ebb72d87553c628"
ORIGINAL_SHA256 = dict.fromkeys(NAMES, FLOATS) | {NAMES[3]: INTEGERS}
FOOTER_BYTES, VERSION_PLACE = 48, 8


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDS, tmp_path / "archive"))


def test_there_is_a_file_of_every_version() -> None:
    versions = [(RECORDS / name).read_bytes()[-FOOTER_BYTES + VERSION_PLACE] for name in NAMES]
    assert versions == [1, 1, 2, 4]


@pytest.mark.parametrize("name", NAMES)
def test_the_original_comes_back(archive: Path, name: str) -> None:
    with ArchivedMovie(archive / name, GainLibrary()) as movie:
        assert movie.record.original.sha256 == ORIGINAL_SHA256[name]
    files = FileSystem(archive, Settings(jobs=1))
    files.start()
    try:
        shown = "/" + name.removesuffix(".tif")
        size = files.attributes(shown).size
        handle = files.open(shown)
        # few bytes at a time, from the last ones on
        pieces = [bytes(files.read(handle, 1000, offset)) for offset in range(0, size, 1000)[::-1]]
        files.release(handle)
        assert hashlib.sha256(b"".join(pieces[::-1])).hexdigest() == ORIGINAL_SHA256[name]
    finally:
        files.stop()


@pytest.mark.parametrize("name", NAMES)
def test_row_blocks_need_checksums_of_strips(archive: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("cryofs.formats.tiff_pages.ROWS_WORTH_IT", 0)
    monkeypatch.setattr("cryofs.formats.tiff_pages.ROW_BLOCKS_WORTH_IT", 1)
    with ArchivedMovie(archive / name, GainLibrary()) as movie, CountsMovie(movie) as counts:
        blocks = [movie.row_block(5), counts.row_block(5)]
    assert blocks == ([range(40)] * 2 if name in HAVE_STRIP_SUMS else [None] * 2)


def test_all_of_them_verify(archive: Path) -> None:
    assert_verified(archive, len(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_any_damaged_strip_is_an_error(archive: Path, name: str) -> None:
    path = archive / name
    whole = path.read_bytes()
    with ArchivedMovie(path, GainLibrary()) as movie:
        frame, expected = movie.record.frames[1], movie.frame(1).tobytes()
    errors: list[str] = []
    assert isinstance(frame, FrameVersion1) == (name not in HAVE_STRIP_SUMS)
    for place, size in zip(frame.offsets, frame.byte_counts, strict=True):
        changed = bytearray(whole)
        changed[place + size // 2] ^= 4
        path.write_bytes(changed)
        with ArchivedMovie(path, GainLibrary()) as movie:
            assert movie.frame(0).size > 0
            try:
                found = movie.frame(1).tobytes()
            except DamagedError as error:
                errors.append(str(error))
            else:
                # a few bits of a deflate stream mean nothing
                assert name == NAMES[0]
                assert found == expected
    assert len(errors) > len(frame.offsets) // 2
    assert all("frame 1: damaged" in error for error in errors)


@pytest.mark.parametrize("name", NAMES)
def test_an_overwritten_file_is_distinguished_from_a_damaged_one(archive: Path, name: str) -> None:
    path = archive / name
    with ArchivedMovie(path, GainLibrary()) as movie:
        expected = movie.frame(0).tobytes()
        data = path.read_bytes()
        with path.open("r+b") as file:
            file.write(data[:512] + bytes(2000))
        os.utime(path)
        with pytest.raises(ChangedError, match="overwritten"):
            movie.frame(0)
        path.write_bytes(data)
    with ArchivedMovie(path, GainLibrary()) as movie:
        assert movie.frame(0).tobytes() == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_magic_does_not_hide_an_archived_movie(archive: Path, name: str) -> None:
    path = archive / name
    data = bytearray(path.read_bytes())
    data[-FOOTER_BYTES] ^= 1
    # the mark at the start is damaged too
    data[:400] = data[:400].replace(b"archived by cryofs", b"archived by someone")
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="no record at the end of the file"):
        ArchivedMovie(path, GainLibrary())
