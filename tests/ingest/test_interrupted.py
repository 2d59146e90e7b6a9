"""An ingestion that ends at any call: a kill, a power cut, a full disk, a failing sync; and restored backups."""

import contextlib
import errno
import shutil
from pathlib import Path

import pytest

from cryofs.archive.recovery import recover
from cryofs.storage import changes
from cryofs.storage.atomic_file import OWN_PREFIX
from cryofs.storage.journal import JOURNAL_NAME
from tests.failing_disk import FailingDisk
from tests.ingest.runs import ingested, remote
from tests.outcomes import extracted, verified
from tests.power_cut import Recorder, recorded, states, write_tree
from tests.support import written_movie


def shown(folder: Path, to: Path) -> bytes:
    """The movie, as a mount shows it."""
    assert not extracted(folder, to=to)[1]
    data = (to / "X.mrc").read_bytes()
    shutil.rmtree(to)
    return data


def assert_recovered(folder: Path, data: bytes, moment: str) -> None:
    """Assert that readers see the movie, before and after two recoveries, and that the next run finishes."""
    out = folder.with_name("out")
    assert not verified(folder)[1], moment
    assert shown(folder, out) == data, moment
    messages: list[str] = []
    before = None
    for _ in range(2):
        recover(folder, messages.append)
        assert shown(folder, out) == data, moment
        found = sorted((path.name, path.stat().st_ino) for path in folder.iterdir())
        assert before in (None, found), moment
        before = found
    assert not messages, moment
    assert not verified(folder)[1], moment
    summary, listener = ingested(folder)
    assert not listener.errors, moment
    assert shown(folder, out) == data, moment
    assert (folder / "X.mrc.tif").exists(), moment
    assert not (folder / "X.mrc").exists(), moment
    assert summary.hidden or [path.name for path in folder.iterdir()] == ["X.mrc.tif"], moment


def check_states(recorder: Recorder, data: bytes, tmp_path: Path) -> int:
    count = 0
    for moment, found in states(recorder):
        place = tmp_path / "state" / "archive"
        place.parent.mkdir()
        write_tree(found, place)
        assert_recovered(place, data, moment)
        shutil.rmtree(place.parent)
        count += 1
    return count


def test_a_power_cut_or_a_kill_at_any_call(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    data = written_movie(folder / "X.mrc").read_bytes()
    with recorded(folder) as recorder:
        assert ingested(folder)[0].ingested == 1
    # states with the plain movie, with both and a journal, with a hidden one, and with the archived movie
    found = [set(state) - {name for name in state if "draft" in name} for _, state in states(recorder)]
    assert {"X.mrc"} in found
    assert {"X.mrc", "X.mrc.tif", JOURNAL_NAME} in found
    assert any("X.mrc" not in state and any("kept" in name for name in state) for state in found)
    assert {"X.mrc.tif"} in found
    assert check_states(recorder, data, tmp_path) > 10


def test_a_power_cut_or_a_kill_at_any_call_without_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(monkeypatch)
    folder = tmp_path / "archive"
    data = written_movie(folder / "X.mrc").read_bytes()
    with recorded(folder) as recorder:
        assert ingested(folder)[0].hidden == 1
    assert check_states(recorder, data, tmp_path) > 8


def test_a_kill_while_a_changed_file_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(monkeypatch)
    folder = tmp_path / "archive"
    plain = written_movie(folder / "X.mrc")
    with plain.open("r+b") as writer:
        assert ingested(folder)[0].hidden == 1
        writer.write(b"changed")
    data = next(folder.glob(".cryofs-kept-*")).read_bytes()
    with recorded(folder) as recorder:
        recover(folder, lambda _: None)
    assert plain.read_bytes() == data
    for number, (moment, found) in enumerate(states(recorder)):
        place = tmp_path / f"state {number}"
        write_tree(found, place)
        recover(place, lambda _: None)
        recover(place, lambda _: None)
        assert (place / "X.mrc").read_bytes() == data, moment
        assert [path.name for path in place.iterdir()] == ["X.mrc"], moment


@pytest.mark.parametrize(
    ("code", "only", "for_good"),
    [(errno.ENOSPC, "", True), (errno.EIO, "", False), (errno.EIO, "sync", False), (errno.EIO, "sync", True)],
)
@pytest.mark.parametrize("leases", [True, False])
def test_a_call_that_fails_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, only: str, for_good: bool, leases: bool
) -> None:
    if not leases:
        remote(monkeypatch)
    number, calls = 0, 1
    while number <= calls:
        folder = tmp_path / str(number) / "archive"
        data = written_movie(folder / "X.mrc").read_bytes()
        # the first run fails nowhere, and counts the calls
        spared = ("remove", "remove_folder")
        disk = FailingDisk(number, code, for_good=for_good and number > 0, only=only, spared=spared)
        with monkeypatch.context() as patch:
            patch.setattr(changes, "disk", disk)
            with contextlib.suppress(OSError):
                ingested(folder)
        calls = max(calls, disk.calls)
        assert_recovered(folder, data, f"call {number}")
        number += 1
    assert calls > 5


@pytest.mark.parametrize("kept", ["everything", "no hidden files", "no journal"])
def test_a_backup_from_the_middle_of_a_step(tmp_path: Path, kept: str) -> None:
    """As cp -a and rsync make one: other inodes, equal times; hidden files may be missing."""
    folder = tmp_path / "archive"
    data = written_movie(folder / "X.mrc").read_bytes()
    with recorded(folder) as recorder:
        assert ingested(folder)[0].ingested == 1
    for number, (moment, found) in enumerate(states(recorder)):
        if "all names: True, all data: True" not in moment:
            continue
        place = tmp_path / f"state {number}"
        write_tree(found, place)
        restored = tmp_path / f"restored {number}"
        shutil.copytree(place, restored)
        for path in list(restored.iterdir()):
            is_hidden = path.name.startswith(OWN_PREFIX)
            if (kept == "no hidden files" and is_hidden) or (kept == "no journal" and path.name == JOURNAL_NAME):
                path.unlink()
        for _ in range(2):
            recover(restored, lambda _: None)
        assert shown(restored, tmp_path / "out") == data, moment
        assert not verified(restored)[1], moment


def test_a_backup_restored_over_an_archive_after_the_movie_was_replaced(tmp_path: Path) -> None:
    """The plain movie of a backup beside the archived movie of another one: neither is lost."""
    folder, backup = tmp_path / "archive", tmp_path / "backup"
    plain = written_movie(folder / "X.mrc")
    shutil.copytree(folder, backup)
    old = plain.read_bytes()
    written_movie(plain, seed=1)
    assert ingested(folder)[0].ingested == 1
    archived = (folder / "X.mrc.tif").read_bytes()
    shutil.copytree(backup, folder, dirs_exist_ok=True)
    for _ in range(2):
        summary, listener = ingested(folder)
        assert summary.failed == 1
        assert "differs from the original" in listener.errors[0]
    assert plain.read_bytes() == old
    assert (folder / "X.mrc.tif").read_bytes() == archived
    assert "differs from the original" in str(verified(folder)[1][0])
