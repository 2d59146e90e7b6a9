"""Sources with links are removed so that no link loses the file that it leads to."""

import os
import shutil
from pathlib import Path

import pytest

from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import ArchiveError
from tests.archive.comparing import compared, entries
from tests.small_session import write_integers
from tests.support import archive, names


def test_a_link_of_the_archive_into_the_source_is_refused(small: tuple[Path, Path]) -> None:
    source, target = small
    (target / "kept.mrc").symlink_to(source / "Movies" / "a.mrc")
    before = entries(source)
    with pytest.raises(ArchiveError, match=r"kept\.mrc: link of the archive leads into SOURCE"):
        compared(source, target, remove_source=True)
    assert entries(source) == before


def test_a_link_to_a_file_of_the_source_goes_before_that_file(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    for name in ("a.mrc", "z.mrc"):
        os.utime(write_integers(source / name), ns=(2, 2))
    archive(source, target, CompressOptions(gain="none", jobs=1))
    (source / "z.mrc").unlink()
    (source / "z.mrc").symlink_to("a.mrc")
    done, _ = compared(source, target, remove_source=True)
    assert (done.all_equal, done.removed) == (True, 2)


def test_a_link_that_stays_keeps_the_file_that_it_leads_to(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "link").unlink()
    (source / "link").symlink_to("notes.txt")
    done, _ = compared(source, target, remove_source=True)
    assert names(source) == ["link", "notes.txt"]
    assert "the link" in done.not_removed[0].reason


def test_links_that_the_archive_lacks_keep_what_they_lead_to(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "new").symlink_to("notes.txt")
    # by way of a link that the archive has
    (source / "Movies" / "further").symlink_to(source / "link")
    (source / ".cryofs-mine").symlink_to("Movies/b.mrc")
    done, _ = compared(source, target, remove_source=True)
    stay = [".cryofs-mine", "Movies/b.mrc", "Movies/further", "link", "new", "notes.txt", "other.txt"]
    assert names(source) == stay
    assert [link.resolve().is_file() for link in source.rglob("*") if link.is_symlink()] == [True] * 4
    assert sorted(one.path.name for one in done.not_removed) == ["b.mrc", "link", "notes.txt", "other.txt"]


def test_a_new_link_to_a_folder_keeps_everything_in_it(small: tuple[Path, Path]) -> None:
    source, target = small
    (source / "new").symlink_to("Movies")
    (source / "another").symlink_to("empty/inner")
    # a link where the archive has a folder
    (source / "empty" / "inner").rename(source / "moved")
    (source / "empty" / "inner").symlink_to("../notes.txt")
    compared(source, target, remove_source=True)
    assert entries(source / "Movies") == ["a.mrc", "b.mrc"]
    assert names(source) == ["Movies/a.mrc", "Movies/b.mrc", "another", "empty/inner", "notes.txt"]
    assert (source / "new").is_symlink()


def test_files_behind_a_link_to_a_folder_stay(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    write_integers(source / "Movies" / "a.mrc")
    archive(source, target, CompressOptions(gain="none", jobs=1))
    (source / "Movies").rename(tmp_path / "raw")
    (source / "Movies").symlink_to(tmp_path / "raw")
    assert compared(source, target)[0].all_equal
    done, _ = compared(source, target, remove_source=True)
    assert (done.equal, done.removed, len(done.not_removed)) == (1, 0, 1)
    assert names(tmp_path / "raw") == ["a.mrc"]
    assert (source / "Movies").is_symlink()


def test_a_folder_by_two_names(tmp_path: Path) -> None:
    source, target = tmp_path / "session", tmp_path / "archive"
    for name in ("Movies", "twice"):
        for number in range(4):
            write_integers(source / name / f"{number}.mrc", seed=number)
    archive(source, target, CompressOptions(gain="none", jobs=1))
    shutil.rmtree(source / "twice")
    (source / "twice").symlink_to("Movies")
    for path in (target / "Movies").iterdir():
        shutil.copy2(path, target / "twice")
    done, _ = compared(source, target, remove_source=True)
    assert (done.equal, done.removed, [one.path.name for one in done.not_removed]) == (8, 4, ["twice"])
