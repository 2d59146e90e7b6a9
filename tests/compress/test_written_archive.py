"""Compress into an archive in which files were written: it replaces only unchanged copies of earlier runs."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from cryofs.compress.movie_task import CompressOptions
from cryofs.errors import ArchiveError
from cryofs.storage import checksum_lists
from cryofs.storage.archive_lock import Activity, ArchiveLock
from tests.ingest.runs import ingested, noise
from tests.support import archive, assert_verified, names, restored, run_in_process, written_movie
from tests.twins import add, make_twins

PLAIN = CompressOptions(gain="none", jobs=1)
UNFINISHED = CompressOptions(gain="none", jobs=1, only_do_unfinished=True)
OPTIONS = pytest.mark.parametrize("options", [PLAIN, UNFINISHED])


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An archive with a movie that was written into it, and archived there."""
    written_movie(tmp_path / "archive" / "X.mrc")
    ingested(tmp_path / "archive")
    return tmp_path / "archive"


@OPTIONS
def test_another_movie_of_the_name_is_refused(tmp_path: Path, target: Path, options: CompressOptions) -> None:
    before = (target / "X.mrc.tif").read_bytes()
    source = written_movie(tmp_path / "session" / "X.mrc", seed=1)
    written_movie(tmp_path / "session" / "other.mrc", seed=2)
    summary, reported = archive(source.parent, target, options)
    assert (summary.movies, summary.failed) == (1, 1)
    assert f"{source}: differs from the movie of this name that was written in the archive" in str(
        reported.errors[source]
    )
    assert (target / "X.mrc.tif").read_bytes() == before
    assert names(target) == ["X.mrc.tif", "other.mrc.tif"]


@OPTIONS
def test_the_same_movie_is_accepted(tmp_path: Path, target: Path, options: CompressOptions) -> None:
    source = written_movie(tmp_path / "session" / "X.mrc")
    summary, reported = archive(source, target, options)
    assert (summary.movies, reported.errors) == (1, {})
    # it has the time of the source now
    assert archive(source, target, UNFINISHED)[0].skipped == 1
    assert_verified(target, 1)


def test_a_source_of_equal_size_and_time_is_compared(tmp_path: Path, target: Path) -> None:
    source = written_movie(tmp_path / "session" / "X.mrc", seed=1)
    back = restored(target, tmp_path / "back") / "X.mrc"
    os.utime(source, ns=(0, back.stat().st_mtime_ns))
    _, reported = archive(source, target, PLAIN)
    assert source in reported.errors


@OPTIONS
@pytest.mark.parametrize("equal", [False, True])
def test_a_plain_movie_that_was_written(tmp_path: Path, options: CompressOptions, equal: bool) -> None:
    target = tmp_path / "archive"
    plain = written_movie(target / "X.mrc")
    data = plain.read_bytes()
    source = written_movie(tmp_path / "session" / "X.mrc", seed=0 if equal else 1)
    _, reported = archive(source, target, options)
    if equal:
        assert not reported.errors
        assert names(target) == ["X.mrc.tif"]
    else:
        assert f"{plain}: written or changed in the archive, and differs from {source}" in str(reported.errors[source])
        assert names(target) == ["X.mrc"]
        assert plain.read_bytes() == data


@OPTIONS
@pytest.mark.parametrize("how", ["written", "edited", "edited, then seen by an ingestion", "adopted"])
@pytest.mark.parametrize("name", ["notes.mrc", "notes.txt"])
def test_a_file_that_was_written_or_edited(tmp_path: Path, options: CompressOptions, how: str, name: str) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    target.mkdir()
    (session / name).write_text("300 kV")
    if "edited" in how:
        archive(session, target, PLAIN)
    (target / name).write_text("200 kV, in the archive")
    if "seen" in how:
        ingested(target)
        assert (checksum_lists.recorded(target / name) is not None) == name.endswith("mrc") or name.endswith("txt")
    elif how == "adopted":
        run_in_process("adopt", target)
    summary, reported = archive(session, target, options)
    assert summary.failed == 1
    assert f"{target / name}: written or changed in the archive" in str(reported.errors[session / name])
    assert (target / name).read_text() == "200 kV, in the archive"
    # an equal one is accepted
    (session / name).write_text("200 kV, in the archive")
    assert not archive(session, target, options)[1].errors


@OPTIONS
def test_a_copy_that_an_ingestion_has_seen_remains_a_copy(tmp_path: Path, options: CompressOptions) -> None:
    source, target = tmp_path / "session" / "X.mrc", tmp_path / "archive"
    source.parent.mkdir()
    noise(source)
    run_in_process("compress", source.parent, "-o", target)
    assert names(target) == ["X.mrc"]
    assert ingested(target)[0].kept_plain == 1
    assert ingested(target)[0].kept_plain == 1
    written_movie(source)
    summary, reported = archive(source.parent, target, options)
    assert (summary.movies, reported.errors) == (1, {})
    assert names(target) == ["X.mrc.tif"]


def test_the_exit_code_is_1(tmp_path: Path, target: Path) -> None:
    source = written_movie(tmp_path / "session" / "X.mrc", seed=1)
    done = run_in_process("compress", source, "-o", target, check=False)
    assert done.returncode == 1
    assert str(source) in done.stderr


def test_a_run_recovers_the_archive_first(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    add("ingest", archived, plain)
    written_movie(tmp_path / "session" / "other.mrc")
    assert not archive(tmp_path / "session", plain.parent, PLAIN)[1].errors
    assert names(plain.parent) == ["X.mrc.tif", "other.mrc.tif"]
    assert [path.name for path in plain.parent.iterdir() if path.name.startswith(".cryofs-journal")] == []


def test_a_run_leaves_the_steps_of_a_living_holder_alone(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    add("replace", archived, plain)
    written_movie(tmp_path / "session" / "other.mrc")
    with ArchiveLock(plain.parent, Activity.COMPRESS):
        assert not archive(tmp_path / "session", plain.parent, PLAIN)[1].errors
    assert names(plain.parent) == [".cryofs-journal", "X.mrc", "X.mrc.tif", "other.mrc.tif"]


def test_a_run_is_refused_by_a_holder_on_another_machine_until_its_lock_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = written_movie(tmp_path / "session" / "X.mrc"), tmp_path / "archive"
    target.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("cryofs.storage.archive_lock._boot_id", lambda: "another boot")
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        lock = ArchiveLock(target, Activity.MOUNT)
    with pytest.raises(ArchiveError, match=r"in use by writable mount .* on elsewhere"):
        archive(source, target, PLAIN)
    done = run_in_process("compress", source, "-o", target, check=False)
    assert (done.returncode, "--break-lock" in done.stderr) == (1, True)
    run_in_process("compress", source, "-o", target, "--break-lock")
    assert (target / "X.mrc.tif").exists()
    lock.release()


def test_a_killed_run_beside_a_plain_copy_of_another_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the archived movie and the removal of its plain copy, readers see the movie."""
    source, target = written_movie(tmp_path / "session" / "X.mrc"), tmp_path / "archive"
    whole = source.read_bytes()
    source.write_bytes(whole[:5000])
    archive(source.parent, target, PLAIN)
    source.write_bytes(whole)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cryofs.compress.plain_copies.changes", SimpleNamespace(disk=SimpleNamespace(remove=killed)))
        with pytest.raises(KeyboardInterrupt):
            archive(source.parent, target, PLAIN)
    shutil.rmtree(target / ".cryofs-lock", ignore_errors=True)
    assert (target / "X.mrc").read_bytes() == whole[:5000]
    assert (restored(target, tmp_path / "back") / "X.mrc").read_bytes() == whole
    assert not archive(source.parent, target, UNFINISHED)[1].errors
    assert names(target) == ["X.mrc.tif"]
