"""Adopted TIFF movies: the TIFF data are unchanged, and every later change is found."""

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

import cryofs
from cryofs.errors import DamagedError, GainError
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.tiff import ForeignMovie
from tests.foreign import WRITERS, counts, serialem
from tests.outcomes import adopted, verified
from tests.support import assert_verified, names, restored
from tests.support import cryofs as command
from tests.vfs.serving import content, serving
from tests.vfs.serving import names as listed


def test_an_adopted_archive_verifies_and_shows_the_same(tiff_archive: Path) -> None:
    before = {path: path.read_bytes() for path in tiff_archive.rglob("*.tif")}
    stats = {path: path.stat() for path in before}
    with serving(tiff_archive) as files:
        shown = {name: content(files, f"/Movies/{name}") for name in listed(files, "/Movies") if name.endswith(".mrc")}
    done, errors = adopted(tiff_archive)
    assert not errors
    assert (done.movies, done.skipped, done.failed) == (3, 0, 0)
    assert_verified(tiff_archive, 3)
    assert names(tiff_archive) == sorted(
        [*(str(path.relative_to(tiff_archive)) for path in before), "gain-reference.mrc", "notes.txt"]
    )
    for path, data in before.items():
        now = path.read_bytes()
        assert now.startswith(data)
        assert (now == data) == (path.name == "photo.tif")
        assert (path.stat().st_mtime_ns, path.stat().st_mode) == (stats[path].st_mtime_ns, stats[path].st_mode)
    with serving(tiff_archive) as files:
        again = {name: content(files, f"/Movies/{name}") for name in listed(files, "/Movies") if name.endswith(".mrc")}
    assert again == shown
    assert len(shown) == 4


@pytest.mark.parametrize("name", WRITERS)
def test_readers_find_the_same_pixels(tiff_archive: Path, name: str) -> None:
    path = tiff_archive / "Movies" / f"{name}.tif"
    with ForeignMovie(path) as movie:
        expected = [movie.mrc_frame(k) for k in range(movie.layout.frames)]
        header = movie.header
    pages = tifffile.imread(path)
    adopted(path)
    assert np.array_equal(tifffile.imread(path), pages)
    with cryofs.open(path) as movie:
        assert isinstance(movie, ArchivedMovie)
        assert movie.header == header
        assert all(np.array_equal(movie.mrc_frame(k), raw) for k, raw in enumerate(expected))
    facts = json.loads(command("info", path, "--json").stdout)
    assert facts["adopted"]["name"] == path.name
    assert facts["original"] == {"name": f"{name}.mrc", "bytes": len(header) + sum(map(len, expected)), "sha256": None}


@pytest.mark.parametrize("name", WRITERS)
def test_any_flipped_bit_is_found(tiff_archive: Path, name: str) -> None:
    path = tiff_archive / "Movies" / f"{name}.tif"
    adopted(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    ends = [*range(8), *range(len(whole) - 48, len(whole))]
    for place in [*ends, *rng.integers(0, len(whole), 60).tolist()]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        done, errors = verified(path)
        assert (done.movies, done.failed) == (0, 1), place
        assert path.name in str(errors[0])


def test_a_damaged_frame_is_not_read(tiff_archive: Path) -> None:
    path = tiff_archive / "Movies" / "SerialEM.tif"
    with ForeignMovie(path) as movie:
        place = movie.index.pages[2].offsets[1]
    adopted(path)
    data = bytearray(path.read_bytes())
    data[place + 5] ^= 1
    path.write_bytes(data)
    with serving(tiff_archive) as files:
        handle = files.open("/Movies/SerialEM.mrc")
        frame = 2 * 48 * 35
        assert files.read(handle, frame, 1024)[:] is not None
        with pytest.raises(DamagedError, match=r"SerialEM\.tif, frame 2: damaged"):
            files.read(handle, frame, 1024 + 2 * frame)
        files.release(handle)


def test_a_movie_whose_end_is_missing_has_no_record(tiff_archive: Path) -> None:
    path = tiff_archive / "Movies" / "SerialEM.tif"
    before = path.read_bytes()
    adopted(tiff_archive)
    path.write_bytes(path.read_bytes()[:-1])
    done, errors = verified(tiff_archive)
    assert (done.movies, done.without_record, errors) == (2, 1, [])
    # all of the TIFF is still there, so it can be adopted again
    assert adopted(path)[0].movies == 1
    assert path.read_bytes().startswith(before)
    assert_verified(tiff_archive, 3)


def test_frames_of_an_adopted_movie_do_not_depend_on_its_pages(tiff_archive: Path) -> None:
    with serving(tiff_archive) as files:
        shown = content(files, "/Movies/SerialEM.mrc")
    adopted(tiff_archive)
    path = tiff_archive / "Movies" / "SerialEM.tif"
    with tifffile.TiffFile(path) as tiff:
        places = [page.aspage().tags["ImageWidth"].offset for page in tiff.pages]
    data = bytearray(path.read_bytes())
    for damaged in (places[1:2], places):
        for place in damaged:
            data[place + 9] ^= 0xFF
        path.write_bytes(data)
        with serving(tiff_archive) as files:
            assert "SerialEM.mrc" in listed(files, "/Movies")
            assert content(files, "/Movies/SerialEM.mrc") == shown
        _, errors = verified(path)
        assert len(errors) == 1


def test_an_adopted_movie_called_like_an_archived_one(tiff_archive: Path) -> None:
    path = serialem(tiff_archive / "d.mrc.tif", counts())
    with serving(tiff_archive) as files:
        before = content(files, "/d.mrc")
    adopted(path)
    with serving(tiff_archive) as files:
        assert content(files, "/d.mrc") == before
        assert "d.mrc.tif" not in listed(files, "/")


def test_extract_gives_the_tiff_back(tiff_archive: Path, tmp_path: Path) -> None:
    before = {name: (tiff_archive / name).read_bytes() for name in names(tiff_archive) if name.endswith(".tif")}
    adopted(tiff_archive)
    place = restored(tiff_archive, tmp_path / "restored")
    assert names(place) == names(tiff_archive)
    for name, data in before.items():
        assert (place / name).read_bytes() == data
        assert (place / name).stat().st_mtime_ns == (tiff_archive / name).stat().st_mtime_ns


def test_adopting_twice_does_nothing(tiff_archive: Path) -> None:
    adopted(tiff_archive)
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in tiff_archive.rglob("*.tif")}
    done, errors = adopted(tiff_archive)
    assert (done.movies, done.skipped, errors) == (0, 3, [])
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in before} == before


def test_a_missing_gain_reference_is_reported(tiff_archive: Path) -> None:
    adopted(tiff_archive)
    (tiff_archive / "gain-reference.mrc").unlink()
    done, errors = verified(tiff_archive)
    # the file itself, and each movie that needs it
    assert (done.failed, done.without_file) == (4, 1)
    assert sum(isinstance(error, GainError) for error in errors) == 3
    with cryofs.open(tiff_archive / "Movies" / "RELION.tif") as movie:
        assert movie.mrc_frame(0).size == movie.layout.frame_bytes


def test_extended_attributes_stay(tiff_archive: Path) -> None:
    path = tiff_archive / "Movies" / "RELION.tif"
    os.setxattr(path, "user.origin", b"session 7")
    assert adopted(path)[0].movies == 1
    assert os.getxattr(path, "user.origin") == b"session 7"


def test_readers_go_on_while_a_movie_is_adopted(tiff_archive: Path) -> None:
    with cryofs.open(tiff_archive / "Movies" / "SerialEM.tif") as movie:
        expected = movie.mrc_frame(4)
        worker = threading.Thread(target=adopted, args=(tiff_archive,))
        worker.start()
        worker.join()
        assert np.array_equal(movie.mrc_frame(4), expected)


def test_the_command(tiff_archive: Path) -> None:
    shutil.copy(tiff_archive / "Movies" / "EPU.tif", tiff_archive / "copy.tif")
    figures = json.loads(command("adopt", tiff_archive, "--json").stdout)
    assert (figures["movies"], figures["failed"]) == (4, 0)
    assert 0 < figures["stored_bytes"] - figures["tiff_bytes"] < 4 * 2000
    assert "0 movies adopted (0 B), 4 skipped, 0 failed" in command("adopt", tiff_archive).stdout
