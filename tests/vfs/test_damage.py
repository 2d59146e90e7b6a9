"""Damaged files in listings: no walk fails, and only reading what is damaged is an error."""

import logging
import os
import stat
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks.simulate_eer import metadata, random_frames, write_eer
from cryofs.config.settings import Settings
from cryofs.errors import ChangedError, CryofsError, DamagedError, FormatError
from cryofs.vfs import damage
from cryofs.vfs.file_system import FileSystem
from tests import faults
from tests.damaged_tree import SHAPE, WIDTHS, DamagedTree, make_damaged_tree
from tests.support import listed_in, wait_for
from tests.vfs.serving import started


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> DamagedTree:
    return make_damaged_tree(tmp_path_factory.mktemp("damaged"))


def serving(folder: Path, **settings: object) -> AbstractContextManager[FileSystem]:
    return started(FileSystem(folder, Settings(jobs=1, **settings)))  # type: ignore[arg-type]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled as soon as they are written."""
    monkeypatch.setattr(damage, "_SETTLED_SECONDS", -10.0)


def walk(files: FileSystem, folder: str = "") -> dict[str, int]:
    """All files, found as programs that walk a tree find them, with their sizes."""
    found: dict[str, int] = {}
    for name, _ in listed_in(files, "/" + folder):
        attributes = files.attributes(f"/{folder}{name}")
        if stat.S_ISDIR(attributes.mode):
            found |= walk(files, f"{folder}{name}/")
        elif attributes.is_file:
            found[folder + name] = attributes.size
            # what programs that copy extended attributes ask for
            files.file_facts(f"/{folder}{name}")
    return found


def content(files: FileSystem, path: str) -> bytes:
    handle = files.open(path)
    try:
        return bytes(files.read(handle, 1 << 26, 0))
    finally:
        files.release(handle)


@pytest.mark.parametrize("view", ["", "@counts/", "@normalised/", "@up4_gr8/"])
def test_a_walk_of_damaged_files_succeeds(tree: DamagedTree, view: str) -> None:
    # without a gain reference
    absent = {"@normalised/Movies/good_tiff.mrc"}
    with serving(tree.folder, eer_upsampling=4) as files:
        for _ in range(2):
            found = walk(files, view)
            references = {f"{view}{place}gain-reference.mrc" for place in ("", "Movies/") if view == "@counts/"}
            assert set(found) == ({view + name for name in tree.names} | references) - absent
        assert all(found[view + name] > 0 for name in tree.unreadable)
        for name in tree.unreadable:
            with pytest.raises(CryofsError):
                content(files, f"/{view}{name}")
        for name, data in tree.readable.items():
            if not (view == "@counts/" and name == "Movies/good.mrc"):
                assert content(files, f"/{view}{name}") == data
        for name in tree.listed:
            if view + name not in absent:
                assert len(content(files, f"/{view}{name}")) == found[view + name]


@pytest.mark.parametrize("name", ["truncated", "junk", "empty", "zeros", "headless", "nowhere", "loop", "._short"])
def test_what_has_no_frame_has_no_movie(tree: DamagedTree, name: str) -> None:
    with serving(tree.folder) as files:
        assert f"{name}.mrc" not in dict(listed_in(files, "/Movies"))
        with pytest.raises(FileNotFoundError):
            files.attributes(f"/Movies/{name}.mrc")


@pytest.mark.parametrize("path", ["/.cryofs-sha256", "/.cryofs-parts", "/.cryofs-parts/hidden.eer"])
def test_names_of_cryofs_are_hidden_everywhere_but_in_the_archive_view(tree: DamagedTree, path: str) -> None:
    with serving(tree.folder) as files:
        for view in ("", "/@counts", "/@normalised", "/@up2_gr8"):
            assert not any(name.startswith(".cryofs-") for name, _ in listed_in(files, view or "/"))
            for hidden in (path, path.replace("hidden.eer", "hidden.mrc")):
                with pytest.raises(FileNotFoundError):
                    files.attributes(view + hidden)
        assert files.attributes("/@archive" + path).size == (tree.folder / path[1:]).stat().st_size
        assert {".cryofs-sha256", ".cryofs-parts"} <= set(dict(listed_in(files, "/@archive")))


@pytest.mark.parametrize("name", ["cut", "record"])
def test_attributes_of_a_movie_whose_record_is_damaged(tree: DamagedTree, name: str) -> None:
    stored = (tree.folder / "Movies" / f"{name}.mrc.tif").stat()
    with serving(tree.folder) as files:
        found = files.attributes(f"/Movies/{name}.mrc")
        assert (found.mode, found.mtime_ns, found.blocks) == (stored.st_mode, stored.st_mtime_ns, stored.st_blocks)
        # not 0, which programs take for nothing to copy, and not the size of the stored file, which is another
        assert found.size == 1
        with pytest.raises(DamagedError, match=rf"{name}\.mrc\.tif: .*restore"):
            files.open(f"/Movies/{name}.mrc")


def test_unusable_options_are_errors_of_opening_and_facts(tree: DamagedTree) -> None:
    with serving(tree.folder, eer_upsampling=4) as files:
        with pytest.raises(FormatError, match="too few sub-pixel bits for upsampling 4"):
            files.open("/Movies/coarse.mrc")
        facts = files.file_facts("/Movies/coarse.mrc")
        assert facts is not None
        assert "too few sub-pixel bits" in facts["error"]
        assert (
            len(content(files, "/@up2_gr6/Movies/coarse.mrc")) == files.attributes("/@up2_gr6/Movies/coarse.mrc").size
        )


def test_a_pixel_size_missing_from_the_metadata_is_an_error_of_opening(tree: DamagedTree) -> None:
    with serving(tree.folder, eer_dose_per_fraction=1.0) as files:
        assert files.attributes("/Movies/short.mrc").size == 1
        with pytest.raises(FormatError, match="pass --eer-pixel-size or --eer-grouping"):
            files.open("/Movies/short.mrc")
    with serving(tree.folder, eer_dose_per_fraction=1.0, eer_pixel_size=1.0) as files:
        assert len(content(files, "/Movies/short.mrc")) == files.attributes("/Movies/short.mrc").size


def test_facts_of_a_file_of_fewer_frames_than_the_grouping(tmp_path: Path) -> None:
    frames = list(random_frames(6, SHAPE, 0.05, WIDTHS))
    write_eer(tmp_path / "a.eer", frames, SHAPE, WIDTHS, xml=metadata(6, 0.5, 0.7))
    for settings in ({}, {"eer_dose_per_fraction": 100.0}):
        with serving(tmp_path, **settings) as files:
            facts = files.file_facts("/a.mrc")
            assert facts is not None
            assert (facts["grouping"], facts["fractions"], facts["source_frames"]) == (6, 1, 6)
            assert files.attributes("/a.mrc").size == 1024 + 2 * SHAPE[0] * SHAPE[1]
            assert len(content(files, "/a.mrc")) == files.attributes("/a.mrc").size


def logged(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [line.getMessage() for line in caplog.records if f"/{name}: " in line.getMessage()]


@pytest.mark.usefixtures("settled")
def test_damage_is_logged_once_for_each_state(tree: DamagedTree, caplog: pytest.LogCaptureFixture) -> None:
    path = tree.folder / "Movies" / "truncated.eer"
    for _ in range(2):
        caplog.clear()
        with serving(tree.folder) as files:
            for _ in range(3):
                walk(files)
            (line,) = logged(caplog, "truncated.eer")
            assert "truncated.eer: truncated, " in line
            assert line.endswith("; copy the file again")
            for name in ("junk.eer", "cut.mrc.tif", "broken.tif", "headless.tif"):
                assert len(logged(caplog, name)) == 1
            assert any("/truncated.eer: " in line for line in files.facts()["damaged"])
            os.utime(path)
            walk(files)
            assert len(logged(caplog, "truncated.eer")) == 2
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.usefixtures("settled")
def test_damage_is_remembered_over_mounts_and_logged_by_each(
    tree: DamagedTree, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tree.folder) as files:
        wait_for(lambda: logged(caplog, "junk.eer"))
        walk(files)
    wait_for(lambda: not files._indexer._thread.is_alive())
    caplog.clear()
    reads: list[str] = []
    monkeypatch.setattr("cryofs.formats.eer.read_index", lambda *arguments: reads.append(arguments[2]))
    with serving(tree.folder) as files:
        wait_for(lambda: logged(caplog, "junk.eer"))
        assert files.facts()["damaged_files"] >= 5
    assert not reads


def test_damage_of_a_file_that_may_still_be_arriving_is_not_remembered(tree: DamagedTree, tmp_path: Path) -> None:
    whole = (tree.folder / "Movies" / "short.eer").read_bytes()
    path = tmp_path / "a.eer"
    path.write_bytes(bytes(len(whole)))
    before = path.stat()
    with serving(tmp_path) as files:
        assert list(dict(listed_in(files, "/"))) == ["a.eer"]
        known = files._tree.facts._tables["FRACTIONS"]
        state = next(iter(known._damaged.values()))[0]
        assert state is None
        path.write_bytes(whole)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert list(dict(listed_in(files, "/"))) == ["a.mrc", "a.eer"]
        assert files.facts()["damaged_files"] == 0


def test_a_movie_that_is_readable_again_is_not_opened_with_its_placeholder_size(
    tree: DamagedTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that relies on the reported size would take the first byte for the whole movie."""
    monkeypatch.setattr("cryofs.vfs.indexer.Indexer._run", lambda _: None)
    monkeypatch.setattr("cryofs.vfs.file_system.FileSystem._prepare", lambda _: None)
    right = tree.readable["Movies/good.mrc"]
    with serving(tree.folder) as files:
        with monkeypatch.context() as patch:
            faults.inject(patch, faults.error_at(0))
            assert files.attributes("/Movies/good.mrc").size == 1
        with pytest.raises(ChangedError, match="became readable"):
            files.open("/Movies/good.mrc")
        assert files.attributes("/Movies/good.mrc").size == len(right)
        assert content(files, "/Movies/good.mrc") == right


def test_links_into_folders_that_cannot_be_entered_are_links_only(
    tree: DamagedTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.eer").symlink_to("locked/a.eer")
    (tmp_path / "a.tif").symlink_to("locked/a.tif")
    monkeypatch.setattr("cryofs.vfs.entries.target_beneath", refuse)
    with serving(tmp_path) as files:
        assert list(dict(listed_in(files, "/"))) == ["a.eer", "a.tif"]
        with pytest.raises(FileNotFoundError):
            files.attributes("/a.mrc")
