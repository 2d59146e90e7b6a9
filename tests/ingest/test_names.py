"""Names in a writable mount: gain references that users write, folders with movies, and damaged movies."""

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.simulate import header
from cryofs.archive.shown import shown_in
from cryofs.errors import DamagedError
from cryofs.system.renaming import EXCHANGE
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import CALLER, after_kills, writable
from tests.ingest.runs import figures, ingested
from tests.support import DETECTOR, archive, assert_verified, restored, simulated, wait_for, written_movie
from tests.vfs.serving import content, names

REFERENCE = header((1, *DETECTOR.shape), 2) + DETECTOR.gain.astype("<f4").tobytes()


def write(files: WritableFileSystem, path: str, data: bytes) -> None:
    handle = files.create(path, 0o644, os.O_WRONLY | os.O_TRUNC, CALLER)
    if data:
        files.write(handle, memoryview(data), 0)
    files.release(handle)


def test_a_gain_reference_of_a_user_is_shown_and_can_be_changed(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    data = simulated(folder / "Movies" / "G.mrc", 3).read_bytes()
    with writable(folder, settle=1000) as files:
        write(files, "/Movies/gain-reference.mrc", REFERENCE)
    assert figures(ingested(folder)[0]) == (1, 0, 0, 0)
    assert len(list(folder.glob("gain-reference-*.mrc"))) == 1
    with writable(folder, settle=1000) as files:
        # the movie depends on the copy at the root, which programs do not see
        assert (names(files, "/"), names(files, "/Movies")) == (["Movies"], ["G.mrc", "gain-reference.mrc"])
        assert content(files, "/Movies/gain-reference.mrc") == REFERENCE
        files.names.move("/Movies/gain-reference.mrc", "/gain-reference.mrc", 0)
        write(files, "/Movies/gain-reference.mrc", b"another")
        write(files, "/gain-reference.mrc", b"none")
        assert content(files, "/Movies/G.mrc") == data
        assert content(files, "/Movies/gain-reference.mrc") == b"another"
    assert_verified(folder, 1)
    assert list(shown_in(folder, folder)) == ["Movies", "gain-reference.mrc"]
    back = restored(folder, tmp_path / "back")
    assert sorted(path.name for path in back.rglob("*.mrc")) == ["G.mrc", "gain-reference.mrc", "gain-reference.mrc"]


@pytest.mark.parametrize("is_estimated", [True, False])
def test_a_gain_reference_of_cryofs_is_neither_shown_nor_changed(tmp_path: Path, is_estimated: bool) -> None:
    simulated(tmp_path / "session" / "G.mrc")
    folder = tmp_path / "archive"
    archive(tmp_path / "session", folder)
    if not is_estimated:
        # as compress stores one that it is given
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "session", folder)
        (folder / "gain-reference.mrc").write_bytes(REFERENCE)
        assert figures(ingested(folder)[0]) == (1, 0, 0, 0)
        (copy,) = folder.glob("gain-reference-*.mrc")
        copy.unlink()
    data = (tmp_path / "session" / "G.mrc").read_bytes()
    with writable(folder, settle=1000) as files:
        assert names(files, "/") == ["G.mrc"]
        write(files, "/new", b"new")
        with pytest.raises(OSError, match="archive has a file"):
            write(files, "/gain-reference.mrc", b"")
        with pytest.raises(OSError, match="archive has a file"):
            files.names.move("/new", "/gain-reference.mrc", 0)
        with pytest.raises(FileNotFoundError):
            files.names.remove("/gain-reference.mrc")
        with pytest.raises(OSError, match="belong to the gain references"):
            write(files, "/gain-reference-0123abcd.mrc", b"")
        assert content(files, "/G.mrc") == data
    assert list(shown_in(folder, folder)) == ["new", "G.mrc"]
    assert sorted(path.name for path in restored(folder, tmp_path / "back").iterdir()) == ["G.mrc", "new"]


@pytest.mark.parametrize("flags", [0, EXCHANGE])
def test_movies_in_a_renamed_folder_find_their_gain_reference(tmp_path: Path, flags: int) -> None:
    data = simulated(tmp_path / "session" / "day" / "Movies" / "G.mrc").read_bytes()
    written_movie(tmp_path / "session" / "b.mrc")
    archive(tmp_path / "session", tmp_path / "made")
    folder = tmp_path / "archive"

    def make() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "made", folder)
        (folder / "gain-reference.mrc").rename(folder / "day" / "gain-reference.mrc")
        (folder / "other").mkdir()
        return folder

    def change(files: WritableFileSystem) -> None:
        one, other = ("/day/Movies", "/moved") if flags == 0 else ("/other", "/day/Movies")
        files.names.move(one, other, flags)

    before, after = "day/Movies/G.mrc", "moved/G.mrc" if flags == 0 else "other/G.mrc"
    for calls, found in after_kills(make, change):
        movies = {name: one for name, one in found.items() if name.endswith("G.mrc")}
        assert movies in ({before: data}, {after: data}), calls
    assert movies == {after: data}
    assert len(list(folder.glob("gain-reference-*.mrc"))) == 1


def test_a_folder_that_keeps_its_gain_reference_needs_no_copy(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "day" / "Movies" / "G.mrc")
    folder = tmp_path / "archive"
    archive(tmp_path / "session", folder)
    (folder / "gain-reference.mrc").rename(folder / "day" / "gain-reference.mrc")
    with writable(folder, settle=1000) as files:
        files.names.move("/day/Movies", "/day/films", 0)
        files.names.move("/day", "/night", 0)
        assert content(files, "/night/films/G.mrc")
    assert not list(folder.glob("gain-reference*"))


def test_a_movie_that_waits_is_archived_after_its_folder_was_renamed(tmp_path: Path) -> None:
    data = written_movie(tmp_path / "X.mrc", shape=(3, 100, 120)).read_bytes()
    (tmp_path / "archive" / "sub").mkdir(parents=True)
    with writable(tmp_path / "archive", settle=1) as files:
        write(files, "/sub/X.mrc", data)
        files.names.move("/sub", "/other", 0)
        files.archived.facts()  # notices that the old name is gone
        wait_for((tmp_path / "archive" / "other" / "X.mrc.tif").exists)
        assert content(files, "/other/X.mrc") == data


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """An archive of two movies, of which one is truncated."""
    for seed, name in enumerate(("X.mrc", "Y.mrc")):
        written_movie(tmp_path / "session" / name, seed)
    archive(tmp_path / "session", tmp_path / "archive")
    stored = tmp_path / "archive" / "X.mrc.tif"
    os.truncate(stored, stored.stat().st_size - 100)
    return tmp_path / "archive"


def test_a_damaged_movie_can_be_renamed_and_removed(damaged: Path) -> None:
    data = (damaged / "X.mrc.tif").read_bytes()
    with writable(damaged, settle=1000) as files:
        files.names.make_folder("/sub", 0o755, CALLER)
        files.names.move("/X.mrc", "/sub/Z.mrc", 0)
        with pytest.raises(DamagedError):
            content(files, "/sub/Z.mrc")
        assert (damaged / "sub" / "Z.mrc.tif").read_bytes() == data
        with pytest.raises(DamagedError):
            files.names.move("/sub/Z.mrc", "/sub/Z.bak", 0)
        files.names.remove("/sub/Z.mrc")
        files.names.remove_folder("/sub")
        assert names(files, "/") == ["Y.mrc"]


def test_a_damaged_movie_can_be_replaced(damaged: Path) -> None:
    expected = (damaged.parent / "session" / "Y.mrc").read_bytes()
    with writable(damaged, settle=1000) as files:
        write(files, "/new", b"restored")
        files.names.move("/new", "/X.mrc", 0)
        assert content(files, "/X.mrc") == b"restored"
        shutil.copyfile(damaged.parent / "archive" / "Y.mrc.tif", damaged / "Z.mrc.tif")
        os.truncate(damaged / "Z.mrc.tif", 5000)
        files.names.move("/Y.mrc", "/Z.mrc", 0)
        assert content(files, "/Z.mrc") == expected
    assert sorted(path.name for path in damaged.iterdir() if path.name[0] != ".") == ["X.mrc", "Z.mrc.tif"]


def test_a_damaged_movie_can_be_overwritten(damaged: Path) -> None:
    stored = damaged / "X.mrc.tif"
    stored.chmod(0o640)
    os.setxattr(stored, "user.note", b"kept")
    with writable(damaged, settle=1000) as files:
        with pytest.raises(DamagedError):
            files.open("/X.mrc", os.O_WRONLY)
        write(files, "/X.mrc", b"restored")
        assert content(files, "/X.mrc") == b"restored"
    plain = damaged / "X.mrc"
    assert (plain.stat().st_mode & 0o777, os.getxattr(plain, "user.note")) == (0o640, b"kept")
    assert not stored.exists()


def test_a_plain_movie_beside_a_damaged_one_is_kept(damaged: Path) -> None:
    original = (damaged.parent / "session" / "X.mrc").read_bytes()
    (damaged / "X.mrc").write_bytes(original)
    with writable(damaged, settle=1000) as files:
        with pytest.raises(DamagedError, match="same name"):
            files.names.move("/Y.mrc", "/X.mrc", 0)
        files.names.remove("/X.mrc")
        assert content(files, "/X.mrc") == original
    assert not (damaged / "X.mrc.tif").exists()


def test_a_tiff_movie_that_may_only_have_lost_its_record_is_kept(damaged: Path) -> None:
    stored = damaged / "X.mrc.tif"
    # nothing shows any more that cryofs wrote the pixels; the end of its record is there
    stored.write_bytes(bytes(5000) + (damaged / "Y.mrc.tif").read_bytes()[-48:])
    with writable(damaged, settle=1000) as files, pytest.raises(DamagedError):
        files.names.remove("/X.mrc")
    assert stored.exists()
