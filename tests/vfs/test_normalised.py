"""The view of TIFF movies of other programs times their gain reference, in the file system without FUSE."""

import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

import cryofs
from cryofs.errors import CryofsError, GainError
from cryofs.vfs.page_cache_policy import Pages
from tests.foreign import counts, epu, relion, serialem, write_tiff
from tests.outcomes import adopted
from tests.support import archive, entries, simulated
from tests.vfs.serving import content, names, serving, write_movie

GAIN = np.random.default_rng(3).uniform(0.8, 1.2, (48, 35)).astype(np.float32)
VIEW = "/@normalised"


def write_gain(path: Path, gain: NDArray[np.float32] = GAIN) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(gain)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """TIFF movies of several programs, their gain reference in the folder above, and other movies."""
    root = tmp_path / "archive"
    simulated(tmp_path / "session" / "own" / "o.mrc")
    archive(tmp_path / "session", root)
    (root / "gain-reference.mrc").rename(root / "own" / "gain-reference.mrc")
    relion(root / "Movies" / "a.tif", counts())
    serialem(root / "Movies" / "b.tif", counts(seed=1))
    epu(root / "Movies" / "c.tiff", counts(seed=2).astype("uint16"))
    write_gain(root / "gain-reference.mrc")
    write_movie(root / "eer" / "e.eer")
    (root / "Movies" / "notes.txt").write_text("300 kV")
    return root


def values(data: bytes) -> NDArray[np.float32]:
    assert np.frombuffer(data[:16], np.int32).tolist() == [35, 48, 5, 2]
    return np.frombuffer(data[1024:], np.float32).reshape(5, 48, 35)


@pytest.mark.parametrize("is_adopted", [False, True])
def test_counts_of_other_programs_are_shown_multiplied(folder: Path, is_adopted: bool) -> None:
    if is_adopted:
        assert not adopted(folder)[1]
    with serving(folder) as files:
        listed = names(files, f"{VIEW}/Movies")
        assert sorted(listed) == ["a.mrc", "a.tif", "b.mrc", "b.tif", "c.mrc", "c.tiff", "notes.txt"]
        for name, seed in (("a", 0), ("b", 1), ("c", 2)):
            shown = values(content(files, f"{VIEW}/Movies/{name}.mrc"))
            assert np.array_equal(shown, counts(seed=seed).astype(np.float32) * GAIN)
            with cryofs.open(folder / "Movies" / f"{name}.tif{'f' * (name == 'c')}", normalised=True) as movie:
                assert np.array_equal(np.stack(list(movie.frames())), shown)


def test_everything_else_is_shown_as_in_the_main_view(folder: Path) -> None:
    with serving(folder) as files:
        for place in ("/own", "/eer"):
            assert names(files, f"{VIEW}{place}") == names(files, place)
        for place in ("/own/o.mrc", "/eer/e.mrc", "/eer/e.eer", "/Movies/a.tif", "/Movies/notes.txt"):
            assert content(files, VIEW + place) == content(files, place)


def test_references_do_not_appear_where_they_are_applied(folder: Path) -> None:
    with serving(folder) as files:
        for place in ("/", "/Movies/"):
            assert "gain-reference.mrc" in names(files, place)
            assert "gain-reference.mrc" not in names(files, VIEW + place)
            with pytest.raises(FileNotFoundError):
                files.attributes(f"{VIEW}{place}gain-reference.mrc")


def test_movies_without_a_reference_are_not_shown(folder: Path) -> None:
    (folder / "gain-reference.mrc").unlink()
    with serving(folder) as files:
        assert names(files, f"{VIEW}/Movies") == ["a.tif", "b.tif", "c.tiff", "notes.txt"]
        with pytest.raises(FileNotFoundError):
            files.attributes(f"{VIEW}/Movies/a.mrc")
        write_gain(folder / "gain-reference.mrc")
        assert "a.mrc" in names(files, f"{VIEW}/Movies")
        assert values(content(files, f"{VIEW}/Movies/a.mrc")).any()


def test_movies_beside_a_reference_of_archived_movies_are_not_shown(folder: Path) -> None:
    serialem(folder / "own" / "s.tif", counts(seed=4))
    (folder / "gain-reference.mrc").unlink()
    with serving(folder) as files:
        assert names(files, f"{VIEW}/own") == ["o.mrc", "s.tif"]


def test_listings_know_sizes_without_reading_a_reference_or_a_frame(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr("cryofs.vfs.file_system.FileSystem._prepare", lambda _: None)
    for name in ("movies.tiff.ForeignMovie.read_frame", "movies.gain_library.GainLibrary.get"):
        monkeypatch.setattr(f"cryofs.{name}", refused)
    with serving(folder) as files:
        found = {entry.name: entry for entry in entries(files, f"{VIEW}/Movies")}
        for name in ("a", "b", "c"):
            entry = found[f"{name}.mrc"]
            assert entry.attributes.size == 1024 + 4 * 5 * 48 * 35
            assert entry.is_complete
            assert entry.attributes.inode == files.attributes(f"{VIEW}/Movies/{name}.mrc").inode
            assert entry.attributes.inode != files.attributes(f"/Movies/{name}.mrc").inode


def test_hard_links_in_folders_with_different_references_have_different_inodes(folder: Path) -> None:
    (folder / "other").mkdir()
    os.link(folder / "Movies" / "a.tif", folder / "other" / "a.tif")
    write_gain(folder / "other" / "gain-reference.mrc", 2 * GAIN)
    with serving(folder) as files:
        one, other = f"{VIEW}/Movies/a.mrc", f"{VIEW}/other/a.mrc"
        assert np.array_equal(2 * values(content(files, one)), values(content(files, other)))
        assert files.attributes(one).inode != files.attributes(other).inode


def test_a_reference_of_another_size_fails_what_is_opened(folder: Path) -> None:
    write_gain(folder / "gain-reference.mrc", GAIN[:-1])
    with serving(folder) as files, pytest.raises(GainError, match=r"expected 48 x 35, got 47 x 35"):
        files.open(f"{VIEW}/Movies/a.mrc")


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_damaged_reference_fails_only_what_it_is_applied_to(folder: Path, is_adopted: bool) -> None:
    if is_adopted:
        assert not adopted(folder)[1]
    reference = folder / "gain-reference.mrc"
    reference.write_bytes(reference.read_bytes()[:-100])
    with serving(folder) as files:
        # listed, so that the loss is seen
        assert "a.mrc" in names(files, f"{VIEW}/Movies")
        with pytest.raises(CryofsError, match="gain"):
            content(files, f"{VIEW}/Movies/a.mrc")
        assert content(files, "/Movies/a.mrc")
        assert content(files, f"{VIEW}/own/o.mrc") == content(files, "/own/o.mrc")


def test_a_reference_that_is_replaced_counts_for_what_is_opened_from_then_on(folder: Path) -> None:
    path = f"{VIEW}/Movies/b.mrc"
    with serving(folder) as files:
        before = files.open(path)
        first = bytes(files.read(before, 10**6, 0))
        write_gain(folder / "new.mrc", 2 * GAIN)
        (folder / "new.mrc").replace(folder / "gain-reference.mrc")
        after = files.open(path)
        assert files.pages(after) is Pages.BYPASS
        assert np.array_equal(values(bytes(files.read(after, 10**6, 0))), 2 * values(first))
        assert bytes(files.read(before, 10**6, 0)) == first


def test_a_damaged_movie_is_listed_and_fails(folder: Path) -> None:
    path = folder / "Movies" / "b.tif"
    path.write_bytes(path.read_bytes()[:3000])
    with serving(folder) as files:
        listed = {entry.name: entry for entry in entries(files, f"{VIEW}/Movies")}
        assert listed["b.mrc"].attributes.inode == files.attributes(f"{VIEW}/Movies/b.mrc").inode
        with pytest.raises(CryofsError):
            content(files, f"{VIEW}/Movies/b.mrc")
        assert values(content(files, f"{VIEW}/Movies/a.mrc")).any()


def test_an_adopted_movie_that_is_named_like_an_archived_one(folder: Path) -> None:
    relion(folder / "Movies" / "d.mrc.tif", counts(seed=5))
    assert not adopted(folder)[1]
    with serving(folder) as files:
        assert {"d.mrc", "d.mrc.tif"} <= set(names(files, f"{VIEW}/Movies"))
        shown = values(content(files, f"{VIEW}/Movies/d.mrc"))
        assert np.array_equal(shown, counts(seed=5).astype(np.float32) * GAIN)


def test_links_to_movies_use_the_reference_of_the_movie(folder: Path) -> None:
    (folder / "links").mkdir()
    (folder / "links" / "l.tif").symlink_to("../Movies/a.tif")
    (folder / "gain-reference.mrc").rename(folder / "Movies" / "gain-reference.mrc")
    with serving(folder) as files:
        assert names(files, f"{VIEW}/links") == ["l.mrc", "l.tif"]
        linked, own = f"{VIEW}/links/l.mrc", f"{VIEW}/Movies/a.mrc"
        assert content(files, linked) == content(files, own)
        assert files.attributes(linked).inode != files.attributes(own).inode


@pytest.mark.parametrize("offset", [0, 1024, 5000, 1024 + 4 * 1000 * 400 + 3])
def test_parts_of_large_frames(tmp_path: Path, offset: int) -> None:
    """Row blocks, for a reader that jumps."""
    frames = counts((2, 1000, 400), "uint8")
    gain = np.random.default_rng(5).uniform(0.8, 1.2, (1000, 400)).astype(np.float32)
    write_tiff(tmp_path / "x.tif", frames, rowsperstrip=20)
    write_gain(tmp_path / "gain-reference.mrc", gain)
    product = (frames.astype(np.float32) * gain).tobytes()
    with serving(tmp_path) as files:
        whole = content(files, f"{VIEW}/x.mrc")
        assert whole[1024:] == product
    with serving(tmp_path) as files:
        handle = files.open(f"{VIEW}/x.mrc")
        assert bytes(files.read(handle, 7001, offset)) == whole[offset : offset + 7001]
