"""Adopted TIFF movies: the TIFF stays as it was, and whatever changes in it afterwards is found."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

import cryofs
from cryofs.archive import adopt as adopting
from cryofs.archive.adopt import Adoption, adopt
from cryofs.archive.verify import Checked, verify
from cryofs.errors import ArchiveError, DamagedError, FormatError, GainError
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.tiff import ForeignMovie
from cryofs.storage.checksum_lists import LIST_NAME, recorded, update
from tests.foreign import WRITERS, counts, serialem, write_tiff
from tests.support import assert_verified, names, restored
from tests.support import cryofs as command
from tests.vfs.test_views import content, serving
from tests.vfs.test_views import names as listed


def adopted(*paths: Path) -> tuple[Adoption, list[Exception]]:
    errors: list[Exception] = []
    done = adopt(paths, 2, lambda _, e: errors.append(e) if e else None, lambda *_: None, lambda _: None)
    return done, errors


def verified(*paths: Path) -> tuple[Checked, list[Exception]]:
    errors: list[Exception] = []
    done = verify(paths, 2, lambda _, e: errors.append(e) if e else None, lambda *_: None, lambda _: None)
    return done, errors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """TIFF movies of all layouts, a gain reference, and files that are none."""
    root = tmp_path / "archive"
    for number, (name, write) in enumerate(WRITERS.items()):
        frames = counts(seed=number).astype("uint16" if name == "EPU" else "uint8")
        path = write(root / "Movies" / f"{name}.tif", frames)
        os.utime(path, ns=(10**18, 10**18 + number))
    with mrcfile.new(root / "gain-reference.mrc") as reference:
        reference.set_data(np.ones((48, 35), np.float32))
    write_tiff(root / "photo.tif", counts()[:1])
    (root / "notes.txt").write_text("300 kV")
    return root


def test_an_adopted_archive_verifies_and_shows_the_same(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.tif")}
    stats = {path: path.stat() for path in before}
    with serving(folder) as files:
        shown = {name: content(files, f"/Movies/{name}") for name in listed(files, "/Movies") if name.endswith(".mrc")}
    done, errors = adopted(folder)
    assert not errors
    assert (done.movies, done.skipped, done.failed) == (3, 0, 0)
    assert_verified(folder, 3)
    assert names(folder) == sorted(
        [*(str(path.relative_to(folder)) for path in before), "gain-reference.mrc", "notes.txt"]
    )
    for path, data in before.items():
        now = path.read_bytes()
        assert now.startswith(data)
        assert (now == data) == (path.name == "photo.tif")
        assert (path.stat().st_mtime_ns, path.stat().st_mode) == (stats[path].st_mtime_ns, stats[path].st_mode)
    with serving(folder) as files:
        again = {name: content(files, f"/Movies/{name}") for name in listed(files, "/Movies") if name.endswith(".mrc")}
    assert again == shown
    assert len(shown) == 4


@pytest.mark.parametrize("name", WRITERS)
def test_readers_find_the_same_pixels(folder: Path, name: str) -> None:
    path = folder / "Movies" / f"{name}.tif"
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
def test_any_flipped_bit_is_found(folder: Path, name: str) -> None:
    path = folder / "Movies" / f"{name}.tif"
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


def test_a_damaged_frame_is_not_read(folder: Path) -> None:
    path = folder / "Movies" / "SerialEM.tif"
    with ForeignMovie(path) as movie:
        place = movie.index.pages[2].offsets[1]
    adopted(path)
    data = bytearray(path.read_bytes())
    data[place + 5] ^= 1
    path.write_bytes(data)
    with serving(folder) as files:
        handle = files.open("/Movies/SerialEM.mrc")
        frame = 2 * 48 * 35
        assert files.read(handle, frame, 1024)[:] is not None
        with pytest.raises(DamagedError, match=r"SerialEM\.tif, frame 2: damaged"):
            files.read(handle, frame, 1024 + 2 * frame)
        files.release(handle)


def test_a_movie_whose_end_is_missing_has_no_record(folder: Path) -> None:
    path = folder / "Movies" / "SerialEM.tif"
    before = path.read_bytes()
    adopted(folder)
    path.write_bytes(path.read_bytes()[:-1])
    done, errors = verified(folder)
    assert (done.movies, done.without_record, errors) == (2, 1, [])
    # all of the TIFF is still there, so it can be adopted again
    assert adopted(path)[0].movies == 1
    assert path.read_bytes().startswith(before)
    assert_verified(folder, 3)


def test_frames_of_an_adopted_movie_do_not_depend_on_its_pages(folder: Path) -> None:
    with serving(folder) as files:
        shown = content(files, "/Movies/SerialEM.mrc")
    adopted(folder)
    path = folder / "Movies" / "SerialEM.tif"
    with tifffile.TiffFile(path) as tiff:
        places = [page.aspage().tags["ImageWidth"].offset for page in tiff.pages]
    data = bytearray(path.read_bytes())
    for damaged in (places[1:2], places):
        for place in damaged:
            data[place + 9] ^= 0xFF
        path.write_bytes(data)
        with serving(folder) as files:
            assert "SerialEM.mrc" in listed(files, "/Movies")
            assert content(files, "/Movies/SerialEM.mrc") == shown
        _, errors = verified(path)
        assert len(errors) == 1


def test_an_adopted_movie_called_like_an_archived_one(folder: Path) -> None:
    path = serialem(folder / "d.mrc.tif", counts())
    with serving(folder) as files:
        before = content(files, "/d.mrc")
    adopted(path)
    with serving(folder) as files:
        assert content(files, "/d.mrc") == before
        assert "d.mrc.tif" not in listed(files, "/")


def test_extract_gives_the_tiff_back(folder: Path, tmp_path: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in names(folder) if name.endswith(".tif")}
    adopted(folder)
    place = restored(folder, tmp_path / "restored")
    assert names(place) == names(folder)
    for name, data in before.items():
        assert (place / name).read_bytes() == data
        assert (place / name).stat().st_mtime_ns == (folder / name).stat().st_mtime_ns


def test_adopting_twice_does_nothing(folder: Path) -> None:
    adopted(folder)
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in folder.rglob("*.tif")}
    done, errors = adopted(folder)
    assert (done.movies, done.skipped, errors) == (0, 3, [])
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in before} == before


def test_a_missing_gain_reference_is_told(folder: Path) -> None:
    adopted(folder)
    (folder / "gain-reference.mrc").unlink()
    done, errors = verified(folder)
    # the file itself, and each movie that needs it
    assert (done.failed, done.without_file) == (4, 1)
    assert sum(isinstance(error, GainError) for error in errors) == 3
    with cryofs.open(folder / "Movies" / "RELION.tif") as movie:
        assert movie.mrc_frame(0).size == movie.layout.frame_bytes


def test_what_is_not_adopted(folder: Path) -> None:
    big = write_tiff(folder / "big.tif", counts(dtype="uint16"), byteorder=">")
    (folder / "link.tif").symlink_to("Movies/RELION.tif")
    checked, errors = verified(folder)
    # of the movies, three could have a record; the link is not counted
    assert (checked.movies, checked.without_record, checked.without_checksum, errors) == (0, 4, 7, [])
    done, errors = adopted(folder)
    assert (done.movies, done.files, errors) == (3, 4, [])
    assert recorded(big) is not None
    assert (folder / "link.tif").is_symlink()
    checked, errors = verified(folder)
    # the link leads to an adopted movie
    assert (checked.movies, checked.files, checked.without_checksum, errors) == (4, 4, 0, [])
    serialem(folder / "new.tif", counts())
    assert "1 of these are TIFF movies without a record" in command("verify", folder).stdout


@pytest.mark.parametrize("name", ["photo.tif", "notes.txt"])
def test_other_files_get_a_checksum(folder: Path, name: str) -> None:
    before = (folder / name).read_bytes()
    assert "0 movies adopted (0 B), 0 skipped, 0 failed, 1 checksums recorded" in command("adopt", folder / name).stdout
    assert recorded(folder / name) == hashlib.sha256(before).hexdigest()
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("name", ["nowhere.tif", "link.tif"])
def test_files_that_were_named_are_not_passed_over(folder: Path, name: str) -> None:
    (folder / "link.tif").symlink_to("photo.tif")
    done = command("adopt", folder / name, check=False)
    assert done.returncode == 1
    assert name in done.stderr
    assert "0 movies adopted" in done.stdout


def test_a_checksum_that_does_not_match_is_never_replaced(folder: Path) -> None:
    movie, notes = folder / "Movies" / "RELION.tif", folder / "notes.txt"
    before = movie.read_bytes()
    for path in (movie, notes):
        update(path.parent, {path.name: "0" * 64})
    done, errors = adopted(folder)
    assert (done.movies, done.failed) == (2, 1)
    assert f"{movie}: checksum mismatch" in str(errors[0])
    assert movie.read_bytes() == before
    assert (recorded(movie), recorded(notes)) == ("0" * 64, "0" * 64)
    assert verified(folder)[0].failed == 2


def test_an_adopted_movie_needs_no_line(folder: Path) -> None:
    movie = folder / "Movies" / "RELION.tif"
    update(movie.parent, {movie.name: hashlib.sha256(movie.read_bytes()).hexdigest()})
    assert adopted(folder)[1] == []
    assert not (movie.parent / LIST_NAME).exists() or recorded(movie) is None
    done, errors = verified(folder)
    assert (done.movies, done.files, errors) == (3, 3, [])


def test_a_file_that_a_program_still_writes_gets_no_checksum(folder: Path) -> None:
    with (folder / "notes.txt").open("a"):
        done, errors = adopted(folder)
    assert (done.files, done.failed) == (2, 1)
    assert "open for writing in another program" in str(errors[0])
    assert recorded(folder / "notes.txt") is None


def test_folders_keep_their_times_and_settings_get_no_checksum(folder: Path) -> None:
    (folder / "cryofs.toml").touch()
    os.utime(folder / "Movies", ns=(10**18, 10**18))
    (folder / "Movies" / "cryofs.toml").touch()
    os.utime(folder / "Movies", ns=(10**18, 10**18))
    adopted(folder)
    assert (folder / "Movies").stat().st_mtime_ns == 10**18
    assert recorded(folder / "cryofs.toml") is None
    assert recorded(folder / "Movies" / "cryofs.toml") is not None
    assert verified(folder)[0].without_checksum == 0


def test_a_copy_that_does_not_come_back_replaces_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "Movies" / "RELION.tif"
    before = path.read_bytes(), path.stat().st_ino

    def broken(*_: object) -> None:
        raise ArchiveError(f"{path}: came back changed")

    monkeypatch.setattr(adopting, "_check", broken)
    done, errors = adopted(path)
    assert (done.movies, done.failed, len(errors)) == (0, 1, 1)
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert not list(folder.rglob(".cryofs-draft-*"))


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"II*\0")


def replaced(path: Path) -> None:
    serialem(path.with_name("new"), counts(seed=9)).replace(path)


@pytest.mark.parametrize("meddle", [overwritten, replaced, lambda path: os.utime(path, ns=(0, 0)), Path.unlink])
def test_a_movie_that_changes_meanwhile_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], None]
) -> None:
    path = folder / "Movies" / "RELION.tif"
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


def test_a_movie_that_a_program_still_writes_is_left_alone(folder: Path) -> None:
    path = folder / "Movies" / "RELION.tif"
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
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written nothing yet, so no time tells of it."""
    path = folder / "Movies" / "RELION.tif"
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
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks the lease by which writers are found, which the kernel tells by a signal."""
    path = folder / "Movies" / "RELION.tif"
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


def test_extended_attributes_stay(folder: Path) -> None:
    path = folder / "Movies" / "RELION.tif"
    os.setxattr(path, "user.origin", b"session 7")
    assert adopted(path)[0].movies == 1
    assert os.getxattr(path, "user.origin") == b"session 7"


def test_one_of_several_names_is_not_adopted(folder: Path) -> None:
    path = folder / "Movies" / "RELION.tif"
    (folder / "second").hardlink_to(path)
    done, errors = adopted(path)
    assert (done.movies, done.failed) == (0, 1)
    assert "2 hard links" in str(errors[0])
    assert path.samefile(folder / "second")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_the_owner_does_not_change(folder: Path) -> None:
    path = folder / "Movies" / "RELION.tif"
    os.chown(path, 1234, 1234)
    path.chmod(0o644)

    def forbidden(*_: object) -> None:
        raise PermissionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fchown", forbidden)
        done, errors = adopted(path)
    assert (done.movies, done.failed) == (0, 1)
    assert "owned by another user" in str(errors[0])
    assert adopted(path)[0].movies == 1
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)


def test_a_link_that_was_named_is_told(folder: Path) -> None:
    (folder / "link.tif").symlink_to("Movies/RELION.tif")
    done, errors = adopted(folder / "link.tif")
    assert (done.movies, done.failed) == (0, 1)
    assert "link.tif: a symbolic link" in str(errors[0])
    assert (folder / "link.tif").is_symlink()


def test_a_damaged_movie_gets_no_record(folder: Path) -> None:
    path = serialem(folder / "x.tif", counts())
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


def test_readers_go_on_while_a_movie_is_adopted(folder: Path) -> None:
    with cryofs.open(folder / "Movies" / "SerialEM.tif") as movie:
        expected = movie.mrc_frame(4)
        worker = threading.Thread(target=adopted, args=(folder,))
        worker.start()
        worker.join()
        assert np.array_equal(movie.mrc_frame(4), expected)


def test_the_command(folder: Path) -> None:
    shutil.copy(folder / "Movies" / "EPU.tif", folder / "copy.tif")
    figures = json.loads(command("adopt", folder, "--json").stdout)
    assert (figures["movies"], figures["failed"]) == (4, 0)
    assert 0 < figures["stored_bytes"] - figures["tiff_bytes"] < 4 * 2000
    assert "0 movies adopted (0 B), 4 skipped, 0 failed" in command("adopt", folder).stdout
