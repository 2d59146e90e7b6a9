"""Originals come out where they belong: nothing is overwritten unasked, and what stands in the way is told."""

import os
import shutil
from pathlib import Path

import pytest

from cryofs.archive.extract import extract
from cryofs.archive.verify import Checked
from tests.support import archive, names, same_tree, simulated


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two movies of one name, in two folders, and its session beside it."""
    folder = tmp_path_factory.mktemp("extract")
    for number in (1, 2):
        simulated(folder / "session" / f"g{number}" / "m.mrc", frames=4, seed=number)
    archive(folder / "session", folder / "archive")
    return folder / "archive"


def extracted(*paths: Path, to: Path) -> tuple[Checked, list[str]]:
    errors: list[Exception] = []
    done = extract(paths, to, 2, lambda _, e: errors.append(e) if e else None, lambda *_: None, lambda _: None)
    assert done.failed == len(errors)
    return done, [str(error) for error in errors]


def test_movies_that_would_get_one_name(made: Path, tmp_path: Path) -> None:
    both = made / "g1" / "m.mrc.tif", made / "g2" / "m.mrc.tif"
    done, (error,) = extracted(*both, to=tmp_path)
    assert done.movies == 1
    assert error.startswith(f"{both[1]}: {both[0]} already becomes {tmp_path / 'm.mrc'}")
    assert (tmp_path / "m.mrc").read_bytes() == (made.parent / "session" / "g1" / "m.mrc").read_bytes()


def test_files_of_two_archives_that_would_get_one_name(tmp_path: Path) -> None:
    for number in (1, 2):
        place = tmp_path / f"session{number}"
        (place / "sub").mkdir(parents=True)
        (place / "notes.txt").write_text(str(number))
        (place / "link").symlink_to("nowhere")
        archive(place, tmp_path / f"archive{number}")
    done, (error,) = extracted(tmp_path / "archive1", tmp_path / "archive2", to=tmp_path / "out")
    assert done.files == 1
    assert "archive2/notes.txt" in error
    assert (tmp_path / "out" / "notes.txt").read_text() == "1"


def test_a_movie_that_was_named_twice_is_restored_once(made: Path, tmp_path: Path) -> None:
    movie = made / "g1" / "m.mrc.tif"
    done, errors = extracted(movie, made / "g2" / ".." / "g1" / "m.mrc.tif", to=tmp_path)
    assert (done.movies, errors) == (1, [])


@pytest.mark.parametrize("name", ["y.tif", "y.mrc.tiff"])
def test_a_movie_that_was_renamed(made: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(made / "g1" / "m.mrc.tif", tmp_path / name)
    shutil.copy(made / "gain-reference.mrc", tmp_path)
    done, errors = extracted(tmp_path / name, to=tmp_path / "out")
    assert (done.movies, errors) == (1, [])
    assert (tmp_path / "out" / "y.mrc").read_bytes() == (made.parent / "session" / "g1" / "m.mrc").read_bytes()


@pytest.mark.parametrize("way", ["a file", "a symbolic link"])
def test_what_is_in_the_way_of_a_folder(made: Path, tmp_path: Path, way: str) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    if way == "a file":
        (out / "g1").write_text("mine")
        (out / "g1").chmod(0o600)
    else:
        (out / "g1").symlink_to(elsewhere)
    done, errors = extracted(made, to=out)
    assert done.movies == 1
    assert all(f"{out / 'g1'}: {way} is where a folder is needed" in error for error in errors)
    assert names(elsewhere) == []
    assert (out / "g2" / "m.mrc").is_file()
    assert way != "a file" or (out / "g1").stat().st_mode & 0o777 == 0o600


def test_what_is_in_the_way_of_a_movie(made: Path, tmp_path: Path) -> None:
    (tmp_path / "m.mrc").mkdir()
    _, (error,) = extracted(made / "g1" / "m.mrc.tif", to=tmp_path)
    assert error.startswith(f"{tmp_path / 'm.mrc'}: Is a directory; ")


def test_the_folder_that_was_named_keeps_its_mode(made: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    before = made.stat().st_mode
    made.chmod(0o700)
    _, errors = extracted(made, to=tmp_path)
    made.chmod(before)
    assert not errors
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777


def test_what_a_killed_run_left_is_removed(made: Path, tmp_path: Path) -> None:
    (tmp_path / ".cryofs-draft-dead").write_bytes(b"left")
    extracted(made / "g1" / "m.mrc.tif", to=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["m.mrc"]


def test_folders_that_cannot_be_written_are_restored_twice(made: Path, tmp_path: Path) -> None:
    session = tmp_path / "session"
    simulated(session / "g" / "m.mrc", frames=4)
    archive(session, tmp_path / "archive")
    for place in (session, tmp_path / "archive"):
        (place / "g").chmod(0o555)
        os.utime(place / "g", ns=(0, 0))
    for _ in range(2):
        assert extracted(tmp_path / "archive", to=tmp_path / "out")[1] == []
        same_tree(session, tmp_path / "out")
