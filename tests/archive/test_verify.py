"""Verify takes nothing for good that it has not checked, or that a mount would not show."""

import json
import os
from pathlib import Path

import pytest

from cryofs.archive.info import savings
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import update
from tests.corpus.record_mutants import with_record
from tests.outcomes import extracted, verified
from tests.support import archive, movies_star, names, restored, run_in_process, simulated


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """An archive of a movie and of a list that names it, with its session beside it."""
    simulated(tmp_path / "session" / "Movies" / "a.mrc", frames=4)
    (tmp_path / "session" / "movies.star").write_text(movies_star("Movies/a.mrc", 1.0))
    archive(tmp_path / "session", tmp_path / "archive")
    return tmp_path / "archive"


@pytest.mark.parametrize("place", ["session", "archive", "."])
def test_a_list_in_an_archive_means_the_archived_movies(
    made: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(made.parent / place)
    assert verified(made / "movies.star")[0].movies == 1
    movie = made / "Movies" / "a.mrc.tif"
    data = bytearray(movie.read_bytes())
    data[3000] ^= 255
    movie.write_bytes(data)
    assert verified(made / "movies.star")[0].failed == 1


def test_a_listed_file_that_is_not_an_archived_movie(made: Path) -> None:
    done, (error,) = verified(made.parent / "session" / "movies.star")
    assert (done.movies, done.failed) == (0, 1)
    assert "not an archived movie, and no recorded checksum" in str(error)


def test_a_gain_reference_above_the_archive(made: Path, tmp_path: Path) -> None:
    (made / "gain-reference.mrc").rename(tmp_path / "gain-reference.mrc")
    done, (missing, error) = verified(made)
    assert (done.failed, done.without_file) == (2, 1)
    assert "gain-reference.mrc: missing" in str(missing)
    assert f"its gain reference is above {made}, where a mount" in str(error)
    update(made, {"gain-reference.mrc": None})
    # intact files are restored, and a single movie is verified without a mount
    assert verified(made / "Movies" / "a.mrc.tif")[0].movies == 1
    restored(made, tmp_path / "restored")
    (tmp_path / "gain-reference.mrc").unlink()
    assert "missing or changed" in str(verified(made)[1][0])


def test_figures_report_what_they_leave_out(made: Path) -> None:
    os.mkfifo(made / "pipe.mrc.tif")
    done = run_in_process("stats", made, check=False)
    assert done.returncode == 1
    assert "pipe.mrc.tif" in done.stderr
    assert done.stdout.startswith("1 movies")
    assert json.loads(run_in_process("stats", made, "--json", check=False).stdout)["unread"] == 1


def test_figures_go_on_behind_a_file_that_cannot_be_read(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = savings([made])
    (made / "c.mrc.tif").write_bytes((made / "Movies" / "a.mrc.tif").read_bytes())
    opening = LocalFile.open

    def broken(path: Path) -> LocalFile:
        if path.name == "c.mrc.tif":
            raise OSError(5, "Input/output error", str(path))
        return opening(path)

    monkeypatch.setattr(LocalFile, "open", broken)
    found = savings([made])
    assert (found.movies, found.stored_bytes) == (1, before.stored_bytes)
    (error,) = found.unread
    assert str(error).startswith(f"{made / 'c.mrc.tif'}: Input/output error")


def test_an_original_with_another_checksum(made: Path, tmp_path: Path) -> None:
    """The checksums of frames and record match; only the checksum of the whole file does not."""
    movie = made / "Movies" / "a.mrc.tif"
    movie.write_bytes(with_record(movie.read_bytes(), lambda plain: plain["original"].update(sha256="0" * 64)))
    for done, (error,) in (verified(movie), extracted(movie, to=tmp_path / "restored")):
        assert (done.movies, done.failed) == (0, 1)
        assert "checksum mismatch" in str(error)
    assert names(tmp_path / "restored") == []
