"""The registry of kinds: a kind or view that is added by one object appears everywhere."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cryofs
from cryofs.archive.info import describe
from cryofs.errors import FormatError
from cryofs.formats import mrc
from cryofs.movies import registry
from cryofs.report.inventory import survey
from cryofs.report.movie_summary import summarize
from cryofs.report.page import write_report
from cryofs.report.preview import save_preview
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.file_system import FileSystem
from tests.movies import throwaway
from tests.support import cryofs as run
from tests.support import listed_in, wait_for
from tests.vfs.serving import content, names, serving

FRAMES = np.arange(3 * 20 * 30, dtype=np.int64).reshape(3, 20, 30).astype(np.int8) % 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    throwaway.write_raw(tmp_path / "archive" / "Movies" / "x.raw8", FRAMES)
    return tmp_path / "archive"


@pytest.fixture
def added() -> Iterator[None]:
    with throwaway.with_kind(), throwaway.with_view():
        yield


def values(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    """Pixels of an MRC movie with a header of 1024 bytes."""
    return np.frombuffer(data[1024:], np.int8).reshape(FRAMES.shape)


@pytest.mark.usefixtures("added")
def test_a_kind_and_a_view_appear_in_the_mount(folder: Path) -> None:
    stored = folder / "Movies" / "x.raw8"
    with serving(folder) as files:
        assert sorted(names(files, "/Movies")) == ["x.mrc", "x.raw8"]
        assert content(files, "/Movies/x.raw8") == stored.read_bytes()
        assert np.array_equal(values(content(files, "/Movies/x.mrc")), FRAMES)
        assert np.array_equal(values(content(files, "/@negative/Movies/x.mrc")), -FRAMES)
        shown = files.attributes("/Movies/x.mrc")
        listed = dict(listed_in(files, "/Movies"))["x.mrc"]
        assert (listed.inode, listed.mode) == (shown.inode, shown.mode)
        inodes = {files.attributes(path).inode for path in ("/Movies/x.raw8", "/@negative/Movies/x.mrc")}
        assert len(inodes | {shown.inode}) == 3


@pytest.mark.usefixtures("added")
def test_the_index_of_a_mount_remembers_a_kind(folder: Path) -> None:
    def surveyed(files: FileSystem) -> bool:
        return len(files._indexer._kept) == 1

    with serving(folder) as files:
        wait_for(lambda: surveyed(files))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throwaway, "read_metadata", lambda _: pytest.fail("read again"))
        with serving(folder) as files:
            wait_for(lambda: surveyed(files))
            assert files.attributes("/Movies/x.mrc").size == 1024 + FRAMES.size


@pytest.mark.usefixtures("added")
def test_damage_of_a_kind_is_listed_and_an_error_of_opening(folder: Path) -> None:
    (folder / "Movies" / "x.raw8").write_bytes(b"RAW")
    with serving(folder) as files:
        assert sorted(names(files, "/Movies")) == ["x.mrc", "x.raw8"]
        with pytest.raises(FormatError, match=r"x\.raw8: not a raw movie"):
            files.open("/Movies/x.mrc")
        assert files.facts()["damaged_files"] == 1


@pytest.mark.usefixtures("added")
def test_a_kind_appears_in_open_info_preview_and_report(folder: Path, tmp_path: Path) -> None:
    path = folder / "Movies" / "x.raw8"
    with cryofs.open(path) as movie:
        assert np.array_equal(np.stack(list(movie.frames())), FRAMES)
    assert describe(path)["shape"] == [3, 20, 30]
    look = summarize(path, 1)
    assert np.allclose(look.total, FRAMES.sum(0))
    save_preview(look, tmp_path / "preview.svg")
    assert "x.raw8" in (tmp_path / "preview.svg").read_text()
    (found,) = survey(folder).movies
    assert (found.path, found.frames, found.kind) == (path, 3, "raw, 30 \u00d7 20")
    write_report(folder, tmp_path / "page.html", 1, 1, lambda _: None)
    assert "raw, 30 \u00d7 20" in (tmp_path / "page.html").read_text()


def test_without_them_the_file_is_plain(folder: Path) -> None:
    with serving(folder) as files:
        assert names(files, "/Movies") == ["x.raw8"]
        with pytest.raises(FileNotFoundError):
            files.attributes("/@negative/Movies/x.raw8")
    with pytest.raises(FormatError, match="not a supported movie type"):
        cryofs.open(folder / "Movies" / "x.raw8")
    assert not survey(folder).movies


def test_a_real_mount_shows_both(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    command = [sys.executable, "-m", "tests.movies.throwaway", "mount", "--foreground", str(folder), str(place)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as mount:
        try:
            wait_for(lambda: place.is_mount() or mount.poll() is not None)
            assert sorted(path.name for path in (place / "Movies").iterdir()) == ["x.mrc", "x.raw8"]
            assert np.array_equal(values((place / "Movies" / "x.mrc").read_bytes()), FRAMES)
            assert np.array_equal(values((place / "@negative" / "Movies" / "x.mrc").read_bytes()), -FRAMES)
        finally:
            run("umount", place, check=False)


def test_kinds_are_found_by_suffix_in_the_order_in_which_they_win() -> None:
    def keys(name: str) -> list[str]:
        return [provider.key for provider in registry.providers_of(name)]

    assert keys("x.mrc.tif") == keys("a.b.mrcs.tif") == ["COUNTS", "MOVIE", "NORMALISED", "FOREIGN"]
    assert keys("x.tif") == keys("x.y.tiff") == ["NORMALISED", "FOREIGN"]
    assert keys("x.eer") == keys("x.mrc.eer") == ["FRACTIONS"]
    assert keys("x.mrc") == ["MRC"]
    assert (keys("X.MRC.tif"), keys("x.TIF"), keys("x.Ecc"), keys("x.Mrc")) == (
        ["COUNTS", "MOVIE", "FOREIGN"],
        ["FOREIGN"],
        ["FRACTIONS"],
        ["MRC"],
    )
    for name in ("notes.txt", "x", "", ".", ".x.eer", ".mrc.tif", "x.", "x.st", "x.map", "x.rec"):
        assert keys(name) == []


class Untouchable(throwaway.RawProvider):
    """A kind of other names, which listings must not ask anything."""

    key = "UNTOUCHABLE"
    suffixes = (".untouchable",)

    def shown_name(self, stored: str) -> str:
        raise AssertionError(stored)

    def probe(self, source: LocalFile, read_index: object, options: object) -> throwaway.RawMetadata:
        raise AssertionError(source.name)


def test_listings_ask_only_the_kinds_of_a_name(folder: Path) -> None:
    others = tuple(Untouchable() for _ in range(50))
    with throwaway.with_kind(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "PROVIDERS", (*others, *registry.PROVIDERS))
        assert registry.providers_of("x.raw8") == (throwaway.RAW,)
        with serving(folder) as files:
            assert sorted(names(files, "/Movies")) == ["x.mrc", "x.raw8"]


@pytest.mark.parametrize("provider", registry.PROVIDERS, ids=lambda provider: provider.key)
@given(stem=st.text("ab.", max_size=5), data=st.data())
def test_a_shown_name_leads_back_to_the_stored_one(
    provider: registry.AnyProvider, stem: str, data: st.DataObject
) -> None:
    every = sorted({suffix for one in registry.PROVIDERS for suffix in one.suffixes})
    stored = stem + "".join(data.draw(st.lists(st.sampled_from(every), max_size=2)))
    if provider in registry.providers_of(stored) and (shown := provider.shown_name(stored)) is not None:
        assert stored in provider.stored_names(shown)
    for name in provider.stored_names(stored):
        assert provider in registry.providers_of(name)
        assert provider.shown_name(name) == stored


def test_no_file_is_probed_whose_name_no_kind_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("notes.txt", "x", ".x.eer", "x.jpg", "plain.mrc"):
        (archive / name).write_bytes(mrc.new_header((1, 2, 2), 0, None, "x"))
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    monkeypatch.setattr("cryofs.vfs.file_system.FileSystem._prepare", lambda _: None)
    with serving(archive) as files:
        monkeypatch.setattr(files._root, "open", lambda path: pytest.fail(f"opened {path}"))
        assert sorted(names(files, "/")) == sorted(["notes.txt", "x", ".x.eer", "x.jpg", "plain.mrc"])
