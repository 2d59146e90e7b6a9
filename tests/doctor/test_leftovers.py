"""What interrupted commands leave in an archive, and what is there while one runs."""

import os
import shutil
import time
from pathlib import Path

import pytest

from cryofs.doctor.archive import survey
from cryofs.doctor.finding import Finding, Level
from cryofs.doctor.leftovers import check_hidden, check_leftovers
from cryofs.storage.archive_lock import Activity, ArchiveLock
from cryofs.storage.hidden_files import hidden_name
from cryofs.storage.journal import FileMark, Line, add_line
from tests.support import archive, simulated


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archive of a movie, with its session beside it."""
    folder = tmp_path_factory.mktemp("leftovers")
    simulated(folder / "session" / "a.mrc", frames=4)
    archive(folder / "session", folder / "archive")
    return folder / "archive"


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """Copy of the archive, with the original of its movie beside it."""
    found = Path(shutil.copytree(made, tmp_path / "archive"))
    shutil.copy2(made.with_name("session") / "a.mrc", found)
    return found


def problems(place: Path) -> list[Finding]:
    found = check_leftovers(place, survey(place).leftovers)
    return [finding for finding in found if finding.level is not Level.OK]


def test_a_copy_without_a_step(place: Path) -> None:
    (found,) = problems(place)
    assert found.level is Level.WARNING
    assert found.what.startswith(f"{place}/a.mrc: an archived movie")
    assert found.remedy.endswith(f"cryofs ingest {place}")


def test_a_file_that_differs_from_its_archived_movie(place: Path) -> None:
    os.utime(place / "a.mrc")
    (found,) = problems(place)
    assert found.level is Level.PROBLEM
    assert f"{place}/a.mrc.tif" in found.what


def test_a_step_that_is_interrupted_or_under_way(place: Path) -> None:
    plain, movie = place / "a.mrc", place / "a.mrc.tif"
    line = Line("ingest", FileMark.of(movie.name, movie.lstat()), FileMark.of(plain.name, plain.lstat()), None)
    add_line(place, line)
    (found,) = problems(place)
    assert (found.level, found.remedy) == (Level.WARNING, f"recover with cryofs ingest {place}")
    assert ".cryofs-journal" in found.what
    with ArchiveLock(place, Activity.MOUNT):
        assert not problems(place)


def test_hidden_files(place: Path) -> None:
    hidden = place / hidden_name("a.mrc")
    (place / "a.mrc").rename(hidden)
    (young,) = check_hidden(place, [hidden])
    (old,) = check_hidden(place, [hidden], time.time() + 25 * 3600)
    assert [young.level, old.level] == [Level.OK, Level.WARNING]
    assert str(hidden) in old.what
    assert old.remedy.endswith(f"cryofs ingest {place}")
