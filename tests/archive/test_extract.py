"""Originals are restored to their places: files in the way are reported, and overwritten only on request."""

import os
import shutil
from pathlib import Path

import pytest

from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import ArchiveError
from tests.foreign import counts, serialem
from tests.outcomes import adopted, extracted
from tests.support import archive, assert_verified, left_draft, names, same_tree, simulated


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two movies of one name, in two folders, and its session beside it."""
    folder = tmp_path_factory.mktemp("extract")
    for number in (1, 2):
        simulated(folder / "session" / f"g{number}" / "m.mrc", frames=4, seed=number)
    archive(folder / "session", folder / "archive")
    return folder / "archive"


def test_movies_that_would_get_one_name(made: Path, tmp_path: Path) -> None:
    both = made / "g1" / "m.mrc.tif", made / "g2" / "m.mrc.tif"
    done, (error,) = extracted(*both, to=tmp_path)
    assert done.movies == 1
    assert str(error).startswith(f"{both[1]}: name already taken by {both[0]} ({tmp_path / 'm.mrc'})")
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
    assert "archive2/notes.txt" in str(error)
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
    assert all(f"{out / 'g1'}: expected a folder, got {way}" in str(error) for error in errors)
    assert names(elsewhere) == []
    assert (out / "g2" / "m.mrc").is_file()
    assert way != "a file" or (out / "g1").stat().st_mode & 0o777 == 0o600


def test_what_is_in_the_way_of_a_movie(made: Path, tmp_path: Path) -> None:
    (tmp_path / "m.mrc").mkdir()
    _, (error,) = extracted(made / "g1" / "m.mrc.tif", to=tmp_path)
    assert str(error).startswith(f"{tmp_path / 'm.mrc'}: Is a directory; ")


def test_the_folder_that_was_named_keeps_its_mode(made: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    before = made.stat().st_mode
    made.chmod(0o700)
    _, errors = extracted(made, to=tmp_path)
    made.chmod(before)
    assert not errors
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777


def test_what_a_killed_run_left_is_removed(made: Path, tmp_path: Path) -> None:
    left_draft(tmp_path)
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


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """An archive of a movie, an adopted TIFF movie in a folder, and another file."""
    place = tmp_path / "archive"
    session = simulated(tmp_path / "session" / "m.mrc", frames=3).parent
    (session / "notes.txt").write_text("300 kV")
    archive(session, place, CompressOptions(gain="none", jobs=1))
    serialem(place / "g1" / "a.tif", counts())
    assert adopted(place)[0].movies == 1
    return place


@pytest.mark.parametrize("through_link", [False, True])
def test_originals_come_out_beside_what_is_archived(mixed: Path, through_link: bool) -> None:
    before = {name: ((mixed / name).read_bytes(), (mixed / name).stat().st_ino) for name in names(mixed)}
    out = mixed
    if through_link:
        out = mixed.parent / "link"
        out.symlink_to(mixed)
    done, (error,) = extracted(mixed, to=out)
    assert (done.movies, done.files) == (1, 0)
    assert str(error).startswith(f"{out / 'g1' / 'a.tif'}: is a file of the archive, which")
    assert str(error).endswith("pass another folder with -o")
    assert {name: ((mixed / name).read_bytes(), (mixed / name).stat().st_ino) for name in before} == before
    assert (mixed / "m.mrc").read_bytes() == (mixed.parent / "session" / "m.mrc").read_bytes()
    # it is a copy of its original, which a mount does not show
    assert extracted(mixed, to=out)[0].unchanged == 1
    assert_verified(mixed, 2)


@pytest.mark.parametrize("by", ["itself", "a link to it", "another archive"])
def test_an_adopted_movie_is_not_overwritten(mixed: Path, by: str) -> None:
    source = held = mixed / "g1" / "a.tif"
    if by == "a link to it":
        source = mixed / "a.tif"
        source.symlink_to(held)
    elif by == "another archive":
        source = serialem(mixed.parent / "other" / "a.tif", counts(seed=1))
    before = held.read_bytes()
    done, (error,) = extracted(source, to=held.parent)
    assert (done.movies, done.files) == (0, 0)
    assert str(error).startswith(f"{held}: is a file of the archive, which")
    assert held.read_bytes() == before


def test_files_of_the_run_are_not_overwritten_by_one_another(mixed: Path) -> None:
    (mixed / "g1" / "notes.txt").write_text("of g1")
    done, errors = extracted(mixed / "g1" / "notes.txt", mixed / "notes.txt", to=mixed)
    assert done.files == 0
    assert [str(error).partition(": is a file of the archive, which")[0] for error in errors] == [
        str(mixed / "notes.txt")
    ]
    assert (mixed / "notes.txt").read_text() == "300 kV"


@pytest.mark.parametrize("out", ["new", "g1"])
def test_no_folder_of_an_archive_takes_what_comes_out_of_it(mixed: Path, out: str) -> None:
    before = names(mixed)
    with pytest.raises(ArchiveError, match=r"inside .* pass another folder with -o"):
        extracted(mixed, to=mixed / out)
    assert names(mixed) == before


def test_a_file_that_differs_from_the_movie_of_its_name_is_an_error_as_in_a_mount(mixed: Path, tmp_path: Path) -> None:
    (mixed / "m.mrc").write_text("no movie")
    done, (error,) = extracted(mixed, to=tmp_path / "out")
    assert done.movies == 1
    assert str(error).startswith(f"{mixed / 'm.mrc'}: differs from the original of {mixed / 'm.mrc.tif'}")
    assert not (tmp_path / "out" / "m.mrc").exists()


@pytest.fixture
def restored(mixed: Path, tmp_path: Path) -> Path:
    """The originals of an archive, with a link, in a folder."""
    (mixed / "link").symlink_to("notes.txt")
    out = tmp_path / "out"
    assert extracted(mixed, to=out)[1] == []
    return out


def inodes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).lstat().st_ino for name in names(folder)}


def test_files_that_are_equal_are_left(mixed: Path, restored: Path) -> None:
    before = inodes(restored)
    os.utime(restored / "notes.txt", ns=(1, 1))
    done, errors = extracted(mixed, to=restored)
    assert errors == []
    assert (done.movies, done.files, done.unchanged) == (0, 0, 3)
    assert inodes(restored) == before
    assert (restored / "notes.txt").stat().st_mtime_ns == 1


@pytest.mark.parametrize("name", ["m.mrc", "g1/a.tif", "notes.txt", "link"])
@pytest.mark.parametrize("change", ["other bytes", "longer", "a link", "removed"])
def test_files_that_differ_are_refused_unless_requested(mixed: Path, restored: Path, name: str, change: str) -> None:
    path = restored / name
    data = path.read_bytes()
    right = data if name != "link" else path.readlink()
    path.unlink()
    if change == "a link":
        path.symlink_to("elsewhere")
    elif change != "removed":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:] + (b"+" if change == "longer" else b""))
    before = inodes(restored)
    done, errors = extracted(mixed, to=restored)
    if change == "removed":
        assert (errors, done.unchanged) == ([], 3 if name == "link" else 2)
    else:
        assert [str(error).partition(": already exists and ")[0] for error in errors] == [str(path)]
        assert "--overwrite" in str(errors[0])
        assert done.movies + done.files == 0
        assert inodes(restored) == before
    assert extracted(mixed, to=restored, overwrite=True)[1] == []
    assert (path.readlink() if name == "link" else path.read_bytes()) == right


def test_a_folder_in_the_way_of_a_link_is_not_overwritten(mixed: Path, restored: Path) -> None:
    (restored / "link").unlink()
    (restored / "link").mkdir()
    (error,) = extracted(mixed, to=restored, overwrite=True)[1]
    assert str(error).startswith(f"{restored / 'link'}: expected a link, got a folder")


@pytest.mark.parametrize("estimated", [True, False])
def test_gain_references_of_archived_movies_are_not_restored(tmp_path: Path, estimated: bool) -> None:
    simulated(tmp_path / "session" / "m.mrc", frames=8)
    serialem(tmp_path / "session" / "x.tif", counts())
    archive(tmp_path / "session", tmp_path / "archive", CompressOptions(jobs=1))
    target = tmp_path / "archive"
    if not estimated:
        # an intact reference that the user gave
        given = tmp_path / "given.mrc"
        data = bytearray((target / "gain-reference.mrc").read_bytes())
        data[224:304] = bytes(80)
        given.write_bytes(data)
        shutil.rmtree(target)
        archive(tmp_path / "session", target, CompressOptions(gain=given, jobs=1))
    done, errors = extracted(target, to=tmp_path / "out")
    assert (done.movies, done.files, errors) == (1, 1, [])
    assert names(tmp_path / "out") == ["m.mrc", "x.tif"]
    # a reference that came with TIFF movies
    (target / "gain-reference-00000000.mrc").write_bytes(bytes(4096))
    extracted(target, to=tmp_path / "with")
    assert names(tmp_path / "with") == ["gain-reference-00000000.mrc", "m.mrc", "x.tif"]


def test_a_fresh_folder_is_not_compared(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("file_difference", "movie_difference", "tiff_difference"):
        monkeypatch.setattr(f"cryofs.archive.restore.{name}", lambda *_, **__: pytest.fail("compared"))
    assert extracted(mixed, to=tmp_path / "new")[1] == []
