"""Links of an archive to EER and TIFF files: they have their movies too, and never lead out of the archive."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cryofs.vfs.archive_root import Root
from cryofs.vfs.links import target_beneath
from tests.foreign import counts, serialem
from tests.outcomes import adopted
from tests.support import archive, simulated
from tests.vfs.serving import content, names, rendered, serving, write_movie


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An archive with an EER and a TIFF file, and the same beside it."""
    root = tmp_path / "archive"
    for folder in (root, tmp_path / "outside"):
        write_movie(folder / "raw" / "a.eer")
        serialem(folder / "raw" / "b.tif", counts())
    (root / "Movies").mkdir()
    return root


@pytest.fixture
def root(place: Path) -> Iterator[Root]:
    made = Root(place)
    yield made
    made.close()


BENEATH = [
    "../raw/a.eer",
    "..//./raw/./a.eer",
    "../raw/../Movies/../raw/a.eer",
    "{archive}/raw/a.eer",
    "{archive}/Movies/../raw/a.eer",
    "chain",
    "../way/a.eer",
    "deep/back",
]
ELSEWHERE = [
    "nowhere.eer",
    "loop.eer",
    "../../outside/raw/a.eer",
    "../../archive/raw/a.eer",
    "{archive}/../outside/raw/a.eer",
    "/",
    "/dev/null",
    "{archive}",
    "{archive}x/raw/a.eer",
    "../raw/a.eer/",
    "../raw/a.eer/../a.eer",
    "..",
    "../..",
    "../raw",
    "out",
]


@pytest.fixture
def with_links(place: Path) -> Path:
    """More links, on the way to which others lead."""
    movies = place / "Movies"
    (movies / "chain").symlink_to("chain2")
    (movies / "chain2").symlink_to(place / "raw" / "a.eer")
    (place / "way").symlink_to("raw")
    (movies / "deep").symlink_to(place / "raw")
    (place / "raw" / "back").symlink_to("../raw/a.eer")
    (movies / "out").symlink_to("../../outside/raw/a.eer")
    return place


@pytest.mark.parametrize("target", BENEATH)
def test_links_beneath_the_archive(with_links: Path, root: Root, target: str) -> None:
    link = with_links / "Movies" / "x.eer"
    link.symlink_to(target.format(archive=with_links))
    assert target_beneath(root, root.path / "Movies" / "x.eer") == root.path / "raw" / "a.eer"
    with serving(with_links) as files:
        assert "x.mrc" in names(files, "/Movies")
        assert content(files, "/Movies/x.mrc") == rendered(with_links / "raw" / "a.eer", grouping=4)
        assert content(files, "/@up2_gr3/Movies/x.mrc") == rendered(link, grouping=3, upsampling=2)
        assert files.read_link("/Movies/x.eer") == os.readlink(link)  # noqa: PTH115 - pathlib changes the target
        assert files.attributes("/Movies/x.mrc").mtime_ns == (with_links / "raw" / "a.eer").stat().st_mtime_ns


@pytest.mark.parametrize("target", ELSEWHERE)
def test_links_that_lead_elsewhere(with_links: Path, target: str) -> None:
    link = with_links / "Movies" / "loop.eer"
    link.symlink_to(target.format(archive=with_links))
    with serving(with_links) as files:
        assert names(files, "/Movies") == ["chain", "chain2", "deep", "loop.eer", "out"]
        with pytest.raises(FileNotFoundError):
            files.attributes("/Movies/loop.mrc")


def test_an_archive_that_was_opened_by_a_link(place: Path) -> None:
    place.with_name("alias").symlink_to(place)
    for number, way in enumerate(("alias", "archive")):
        (place / "Movies" / f"{number}.eer").symlink_to(place.with_name(way) / "raw" / "a.eer")
    with serving(place.with_name("alias")) as files:
        assert {"0.mrc", "1.mrc"} <= {*names(files, "/Movies")}


def test_links_to_tiff_movies(place: Path) -> None:
    movies = place / "Movies"
    for name in ("x.tif", "y.tiff", "z.mrc.tif"):
        (movies / name).symlink_to("../raw/b.tif")
    (movies / "text.tif").symlink_to("../notes.txt")
    (place / "notes.txt").write_text("300 kV")
    with serving(place) as files:
        assert names(files, "/Movies") == ["text.tif", "x.mrc", "x.tif", "y.mrc", "y.tiff", "z.mrc", "z.mrc.tif"]
        expected = content(files, "/raw/b.mrc")
        assert {content(files, f"/Movies/{name}.mrc") for name in "xyz"} == {expected}
        with pytest.raises(FileNotFoundError):
            files.attributes("/Movies/text.mrc")


def test_links_to_files_that_the_mount_does_not_show_so(place: Path) -> None:
    """An archived movie has its original's name in the mount, and files of cryofs have none."""
    simulated(place.with_name("session") / "m.mrc", frames=16)
    archive(place.with_name("session"), place)
    shutil.copy(place / "raw" / "a.eer", place / ".cryofs-draft-1")
    shutil.copy(place / "raw" / "b.tif", place / "adopted.tif")
    adopted(place / "adopted.tif")
    movies = place / "Movies"
    (movies / "x.tif").symlink_to("../m.mrc.tif")
    (movies / "y.eer").symlink_to("../.cryofs-draft-1")
    (movies / "z.tif").symlink_to("../adopted.tif")
    with serving(place) as files:
        assert {"x.mrc", "y.mrc"}.isdisjoint(names(files, "/Movies"))
        for name in ("x", "y"):
            with pytest.raises(FileNotFoundError):
                files.attributes(f"/Movies/{name}.mrc")
        assert content(files, "/Movies/z.mrc") == content(files, "/adopted.mrc")


def test_real_names_win_over_what_a_link_makes(place: Path) -> None:
    (place / "Movies" / "x.eer").symlink_to("../raw/a.eer")
    (place / "Movies" / "x.mrc").write_bytes(b"a file of its own")
    with serving(place) as files:
        assert names(files, "/Movies") == ["x.mrc", "x.eer"]
        assert content(files, "/Movies/x.mrc") == b"a file of its own"


def test_a_folder_of_links_has_the_gain_reference_of_its_movies(place: Path) -> None:
    gain = np.random.default_rng(1).uniform(0.8, 1.2, (64, 48)).astype(np.float32)
    tifffile.imwrite(place / "falcon.gain", gain)
    (place / "Movies" / "x.eer").symlink_to("../raw/a.eer")
    with serving(place, eer_gain=str(place / "falcon.gain")) as files:
        assert "gain-reference.mrc" in names(files, "/Movies")
        assert content(files, "/Movies/gain-reference.mrc") == content(files, "/raw/gain-reference.mrc")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_folder_that_turns_into_a_link_never_leads_out(
    place: Path, root: Root, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """While a link is resolved, before each of its steps."""
    (place / "Movies" / "x.eer").symlink_to("../raw/a.eer")
    real, calls = root.lstat, 0

    def lstat(path: Path) -> os.stat_result:
        nonlocal calls
        calls += 1
        if calls == step:
            (place / "raw").rename(place / "aside")
            (place / "raw").symlink_to("../outside/raw")
        return real(path)

    monkeypatch.setattr(root, "lstat", lstat)
    assert target_beneath(root, root.path / "Movies" / "x.eer") is None
    assert calls >= step
