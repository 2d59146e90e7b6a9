"""TIFF movies of other programs in the file system: beside each its frames as MRC, and the gain reference they need."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.compress.movie_task import CompressOptions
from cryofs.config.settings import Size
from cryofs.errors import DamagedError
from cryofs.movies.tiff import ForeignMovie
from cryofs.vfs.archive_root import Root
from tests.foreign import counts, epu, relion, serialem, write_tiff
from tests.support import DETECTOR, archive, listed_in, simulated
from tests.vfs.serving import content, names, serving

GAIN = np.random.default_rng(3).uniform(0.8, 1.2, (48, 35)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What relion_convert_to_tiff, SerialEM and EPU leave behind."""
    root = tmp_path / "archive"
    relion(root / "Movies" / "a.tif", counts())
    serialem(root / "Movies" / "b.tif", counts(seed=1))
    epu(root / "Movies" / "c_Fractions.tiff", counts(seed=2).astype("uint16"))
    write_tiff(root / "Movies" / "gain.tif", GAIN[np.newaxis])
    with mrcfile.new(root / "gain-reference.mrc") as reference:
        reference.set_data(GAIN)
    return root


def as_mrc(path: Path) -> bytes:
    with ForeignMovie(path) as movie:
        return movie.header + b"".join(movie.mrc_frame(k).tobytes() for k in range(movie.layout.frames))


def test_frames_appear_beside_the_tiff_files(folder: Path) -> None:
    shown = {"a.mrc": "a.tif", "b.mrc": "b.tif", "c_Fractions.mrc": "c_Fractions.tiff"}
    with serving(folder) as files:
        listed = names(files, "/Movies")
        assert sorted(listed) == sorted([*shown, *shown.values(), "gain.tif", "gain-reference.mrc"])
        for name, source in shown.items():
            assert content(files, f"/Movies/{name}") == as_mrc(folder / "Movies" / source)
            assert content(files, f"/Movies/{source}") == (folder / "Movies" / source).read_bytes()
            stat, own = files.attributes(f"/Movies/{source}"), files.attributes(f"/Movies/{name}")
            assert (own.mode, own.mtime_ns) == (stat.mode, stat.mtime_ns)
            assert own.inode != stat.inode
            assert dict(listed_in(files, "/Movies"))[name].inode == own.inode
        with pytest.raises(FileNotFoundError):
            files.attributes("/Movies/gain.mrc")


def test_names_in_capitals(tmp_path: Path) -> None:
    frames = {"A.TIF": counts(), "b.Tiff": counts(seed=1), "C.MRC.TIF": counts(seed=2), "d.tIf": counts(seed=3)}
    for name, values in frames.items():
        serialem(tmp_path / name, values)
    serialem(tmp_path / "a.tif", counts(seed=4))
    with serving(tmp_path) as files:
        shown = {"A.mrc": "A.TIF", "b.mrc": "b.Tiff", "C.MRC": "C.MRC.TIF", "a.mrc": "a.tif"}
        assert sorted(names(files, "/")) == sorted([*frames, *shown, "a.tif"])
        for name, source in shown.items():
            assert content(files, f"/{name}") == as_mrc(tmp_path / source)


def test_of_two_files_behind_one_name_the_one_in_lower_case_counts(tmp_path: Path) -> None:
    serialem(tmp_path / "a.TIF", counts())
    serialem(tmp_path / "a.tif", counts(seed=4))
    with serving(tmp_path) as files:
        assert sorted(names(files, "/")) == ["a.TIF", "a.mrc", "a.tif"]
        assert content(files, "/a.mrc") == as_mrc(tmp_path / "a.tif")


@pytest.mark.parametrize("place", ["/gain-reference.mrc", "/Movies/gain-reference.mrc", "/@counts/gain-reference.mrc"])
def test_their_gain_reference_appears(folder: Path, place: str) -> None:
    with serving(folder) as files:
        assert content(files, place) == (folder / "gain-reference.mrc").read_bytes()
        if not place.startswith("/@"):
            assert "gain-reference.mrc" in names(files, str(Path(place).parent))


def test_gain_references_of_archived_movies_stay_hidden(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "Movies" / "x.mrc")
    write_tiff(tmp_path / "session" / "Movies" / "screenshot.tif", counts()[:1])
    archive(tmp_path / "session", tmp_path / "archive")
    assert (tmp_path / "archive" / "gain-reference.mrc").exists()
    with serving(tmp_path / "archive") as files:
        assert names(files, "/") == ["Movies"]
        assert names(files, "/Movies") == ["screenshot.tif", "x.mrc"]
        for place in ("/gain-reference.mrc", "/Movies/gain-reference.mrc"):
            with pytest.raises(FileNotFoundError):
                files.attributes(place)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """An archive of TIFF movies and of movies that cryofs archived, each kind in a folder of its own."""
    simulated(tmp_path / "session" / "Archived" / "x.mrc")
    relion(tmp_path / "session" / "Movies" / "a.tif", counts())
    return tmp_path


def assert_hidden(target: Path) -> None:
    assert (target / "gain-reference.mrc").exists()
    with serving(target) as files:
        for _ in range(2):
            assert names(files, "/") == ["Archived", "Movies"]
            assert names(files, "/Movies") == ["a.mrc", "a.tif"]
            for place in ("/gain-reference.mrc", "/Movies/gain-reference.mrc"):
                with pytest.raises(FileNotFoundError):
                    files.attributes(place)
        assert "gain-reference.mrc" in names(files, "/@counts/Archived")


def test_an_estimated_gain_reference_does_not_appear_beside_tiff_movies(mixed: Path) -> None:
    archive(mixed / "session", mixed / "archive")
    assert_hidden(mixed / "archive")
    # without a movie that needs it, only its label identifies it
    shutil.rmtree(mixed / "archive" / "Archived")
    with serving(mixed / "archive") as files:
        assert names(files, "/Movies") == ["a.mrc", "a.tif"]


def test_a_gain_reference_that_archived_movies_need_does_not_appear_beside_tiff_movies(mixed: Path) -> None:
    """A file that a user gave, by the records that name it; without them it came with the TIFF movies."""
    with mrcfile.new(mixed / "given.mrc") as reference:
        reference.set_data(DETECTOR.gain.astype(np.float32))
    archive(mixed / "session", mixed / "archive", CompressOptions(jobs=2, gain=mixed / "given.mrc"))
    assert (mixed / "archive" / "gain-reference.mrc").read_bytes() == (mixed / "given.mrc").read_bytes()
    assert_hidden(mixed / "archive")
    shutil.rmtree(mixed / "archive" / "Archived")
    with serving(mixed / "archive") as files:
        for place in ("/", "/Movies/"):
            assert content(files, place + "gain-reference.mrc") == (mixed / "given.mrc").read_bytes()


def test_a_folder_above_that_cannot_be_listed_costs_no_listing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names_in = Root.names

    def refusing(root: Root, place: Path) -> list[str]:
        if place == root.path:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return names_in(root, place)

    monkeypatch.setattr(Root, "names", refusing)
    with serving(folder) as files:
        assert "a.mrc" in names(files, "/Movies")


def test_links_and_folders_called_like_gain_references_appear(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "gain-reference.mrc").symlink_to("../notes.txt")
    (folder / "other" / "gain-reference-01234567.mrc").mkdir()
    with serving(folder) as files:
        assert names(files, "/other") == ["gain-reference-01234567.mrc", "gain-reference.mrc"]
        assert files.read_link("/other/gain-reference.mrc") == "../notes.txt"
        assert names(files, "/other/gain-reference-01234567.mrc") == []


def test_tiff_files_called_like_archived_movies_need_no_gain_reference(folder: Path) -> None:
    place = folder / "other"
    serialem(place / "d.mrc.tif", counts())
    with serving(folder) as files:
        assert sorted(names(files, "/other")) == ["d.mrc", "d.mrc.tif"]
        with pytest.raises(FileNotFoundError):
            files.attributes("/other/gain-reference.mrc")
        serialem(place / "e.tif", counts())
        assert "gain-reference.mrc" in names(files, "/other")


def test_real_files_and_archived_movies_win(folder: Path) -> None:
    frames = counts(shape=(4, 20, 30))
    original = header(frames.shape, 0) + frames.astype(np.int8).tobytes()
    (folder.parent / "session").mkdir()
    (folder.parent / "session" / "a.mrc").write_bytes(original)
    archive(folder.parent / "session", folder / "Movies")
    (folder / "Movies" / "b.mrc").write_bytes(b"a file of that name")
    with serving(folder) as files:
        assert content(files, "/Movies/a.mrc") == original
        assert content(files, "/Movies/b.mrc") == b"a file of that name"
        assert names(files, "/Movies").count("a.mrc") == names(files, "/Movies").count("b.mrc") == 1


def test_a_tiff_called_like_an_archived_movie(folder: Path) -> None:
    path = serialem(folder / "d.mrc.tif", counts())
    with serving(folder) as files:
        assert {"d.mrc", "d.mrc.tif"} <= set(names(files, "/"))
        assert content(files, "/d.mrc") == as_mrc(path)
        assert content(files, "/d.mrc.tif") == path.read_bytes()


@pytest.mark.parametrize("name", ["y.tif", "y.tiff", "y.mrc.tiff"])
def test_an_archived_movie_that_was_renamed(tmp_path: Path, name: str) -> None:
    original = simulated(tmp_path / "session" / "x.mrc").read_bytes()
    archive(tmp_path / "session", tmp_path / "archive")
    path = (tmp_path / "archive" / "x.mrc.tif").rename(tmp_path / "archive" / name)
    (tmp_path / "session" / "y.mrc").write_bytes(original)
    archive(tmp_path / "session" / "y.mrc", tmp_path / "other")
    shutil.copy(tmp_path / "archive" / "gain-reference.mrc", tmp_path / "other")
    with serving(tmp_path / "archive") as files, serving(tmp_path / "other") as others:
        assert sorted(names(files, "/")) == sorted([name, "y.mrc"])
        assert content(files, "/y.mrc") == original
        assert content(files, f"/{name}") == path.read_bytes()
        assert content(files, "/@counts/y.mrc") == content(others, "/@counts/y.mrc")
        assert files.attributes("/y.mrc").inode == dict(listed_in(files, "/"))["y.mrc"].inode
        assert files.attributes("/y.mrc").inode != files.attributes(f"/{name}").inode
        path.write_bytes(path.read_bytes()[:-700])
        assert {name, "y.mrc"} <= set(names(files, "/"))
        assert files.attributes("/y.mrc").size == 1
        with pytest.raises(DamagedError):
            files.open("/y.mrc")


def test_a_truncated_movie_is_listed_and_cannot_be_read(folder: Path) -> None:
    path = folder / "Movies" / "b.tif"
    path.write_bytes(path.read_bytes()[:-700])
    with serving(folder) as files:
        assert "b.mrc" in names(files, "/Movies")
        found, stored = files.attributes("/Movies/b.mrc"), path.stat()
        assert (found.mode, found.mtime_ns, found.size) == (stored.st_mode, stored.st_mtime_ns, 1)
        with pytest.raises(DamagedError, match=r"Movies/b\.tif: .*copy the file again"):
            files.open("/Movies/b.mrc")
        assert content(files, "/Movies/b.tif") == path.read_bytes()
        assert content(files, "/Movies/a.mrc") == as_mrc(folder / "Movies" / "a.tif")


@pytest.mark.parametrize("damage", [lambda data: data[:9], lambda data: data[:4] + b"\xff" * 4 + data[8:]])
def test_a_tiff_file_without_a_frame_has_no_movie(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "Movies" / "b.tif"
    path.write_bytes(damage(path.read_bytes()))
    with serving(folder) as files:
        assert "b.mrc" not in names(files, "/Movies")
        with pytest.raises(FileNotFoundError):
            files.attributes("/Movies/b.mrc")
        assert content(files, "/Movies/b.tif") == path.read_bytes()


def test_pieces_of_a_mounted_movie(folder: Path) -> None:
    whole = as_mrc(folder / "Movies" / "b.tif")
    with serving(folder) as files:
        handle = files.open("/Movies/b.mrc")
        for offset, size in [(0, 10), (1000, 100), (1023, 3361), (4001, 7), (len(whole) - 5, 100), (len(whole), 1)]:
            assert bytes(files.read(handle, size, offset)) == whole[offset : offset + size]
        files.release(handle)


def test_a_folder_that_may_not_be_read_hides_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # sorted before the folder of the movies, so it is looked at first
    (folder / "Locked").mkdir()
    names_in = Root.names

    def refusing(root: Root, place: Path) -> list[str]:
        if place.name == "Locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return names_in(root, place)

    monkeypatch.setattr(Root, "names", refusing)
    with serving(folder) as files:
        assert {"Locked", "Movies", "gain-reference.mrc"} <= set(names(files, "/"))


def test_memory_of_a_frame_of_another_shape_is_used_again(tmp_path: Path) -> None:
    one, other = counts((2, 50, 33), "int16"), counts((2, 25, 33), "float32")
    write_tiff(tmp_path / "one.tif", one)
    write_tiff(tmp_path / "other.tif", other)
    # room for one frame of either
    with serving(tmp_path, cache_size=Size(3500)) as files:
        for _ in range(2):
            assert content(files, "/one.mrc").endswith(one.tobytes())
            assert content(files, "/other.mrc").endswith(other.tobytes())
