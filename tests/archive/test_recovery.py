"""What a recovery makes of each kind of line, and of hidden files: it removes what does not count, and nothing else."""

import errno
import io
import os
import shutil
from pathlib import Path

import pytest

from cryofs.archive.recovery import recover
from cryofs.storage import changes
from cryofs.storage.changes import Disk
from cryofs.storage.hidden_files import hidden_name
from cryofs.storage.journal import JOURNAL_NAME, FileMark, Line, add_line, read_journal
from tests.support import left_draft
from tests.twins import add, alter, line_of, make_twins

MISMATCH = "does not match the files, so nothing was removed"


def recovered(folder: Path) -> list[str]:
    """Recover twice; the second time must change and report nothing."""
    messages: list[str] = []
    recover(folder, messages.append)
    before = {path.name: path.stat() for path in folder.iterdir()}
    again: list[str] = []
    recover(folder, again.append)
    assert not again
    assert {path.name: path.stat() for path in folder.iterdir()} == before
    return messages


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["ingest", "thaw"])
def step(request: pytest.FixtureRequest, tmp_path: Path) -> Line:
    """The line of a step of which both files are there."""
    plain, archived = make_twins(tmp_path / "archive")
    counts, other = (archived, plain) if request.param == "ingest" else (plain, archived)
    return add(request.param, counts, other)


def other_names(step: Line) -> list[str]:
    return sorted([step.counts.name, step.other.name])


def test_the_file_that_does_not_count_is_removed(tmp_path: Path, step: Line) -> None:
    assert not recovered(tmp_path / "archive")
    assert names(tmp_path / "archive") == [step.counts.name]


@pytest.mark.parametrize("changed", ["counts", "other"])
@pytest.mark.parametrize("how", ["bytes", "time", "inode"])
def test_a_line_that_does_not_match_removes_nothing(tmp_path: Path, step: Line, changed: str, how: str) -> None:
    folder = tmp_path / "archive"
    path = folder / (step.counts.name if changed == "counts" else step.other.name)
    if how == "bytes":
        with path.open("ab") as file:
            file.write(b"x")
    elif how == "time":
        os.utime(path, ns=(5, 6))
    else:
        shutil.copy2(path, folder / "new")
        (folder / "new").replace(path)
    (message,) = recovered(folder)
    assert MISMATCH in message
    assert names(folder) == other_names(step)


def test_a_sole_file_is_never_removed(tmp_path: Path, step: Line) -> None:
    folder = tmp_path / "archive"
    (folder / step.counts.name).unlink()
    # the step never began
    assert not recovered(folder)
    assert names(folder) == [step.other.name]


def test_a_step_that_ended_leaves_only_its_line(tmp_path: Path, step: Line) -> None:
    folder = tmp_path / "archive"
    (folder / step.other.name).unlink()
    assert not recovered(folder)
    assert names(folder) == [step.counts.name]


@pytest.mark.parametrize("left", ["counts", "other"])
def test_a_sole_file_that_changed_stays(tmp_path: Path, step: Line, left: str) -> None:
    folder = tmp_path / "archive"
    gone, stays = (step.other, step.counts) if left == "counts" else (step.counts, step.other)
    (folder / gone.name).unlink()
    alter(folder / stays.name)
    (message,) = recovered(folder)
    assert MISMATCH in message
    assert names(folder) == [stays.name]


def test_a_full_disk_is_recovered_by_the_room_of_what_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill has left the draft that filled the disk, and the line of its step."""
    plain, archived = make_twins(tmp_path / "archive")
    left = left_draft(plain.parent)
    add("ingest", archived, plain)
    archived.unlink()

    class Full(Disk):
        def create(self, path: Path) -> io.BufferedRandom:
            if left.exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return super().create(path)

    monkeypatch.setattr(changes, "disk", Full())
    assert not recovered(plain.parent)
    assert names(plain.parent) == [plain.name]


def test_a_file_that_a_program_has_open_is_left_until_later(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    add("ingest", archived, plain, hidden_name(plain.name))
    messages: list[str] = []
    with plain.open("r+b"):
        recover(plain.parent, messages.append)
        recover(plain.parent, messages.append)
    assert all("open in another program" in message for message in messages)
    assert names(plain.parent) == sorted([JOURNAL_NAME, plain.name, archived.name])
    assert not recovered(plain.parent)
    assert names(plain.parent) == [archived.name]


def hide(plain: Path, counts: Path) -> Path:
    hidden = plain.with_name(hidden_name(plain.name))
    add("kept", counts, plain, hidden.name)
    plain.rename(hidden)
    return hidden


def test_a_hidden_file_stays_while_its_archived_movie_is_there(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    hidden = hide(plain, archived)
    assert not recovered(plain.parent)
    assert names(plain.parent) == sorted([JOURNAL_NAME, hidden.name, archived.name])


@pytest.mark.parametrize("archived_is", ["missing", "changed"])
def test_a_hidden_file_is_restored_without_its_archived_movie(tmp_path: Path, archived_is: str) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    data = plain.read_bytes()
    hide(plain, archived)
    if archived_is == "missing":
        archived.unlink()
    else:
        alter(archived)
    (message,) = recovered(plain.parent)
    assert "restored the original as" in message
    if archived_is == "missing":
        assert names(plain.parent) == [plain.name]
        assert plain.read_bytes() == data
    else:
        (beside,) = plain.parent.glob("X.changed-*.mrc")
        assert beside.read_bytes() == data
        assert names(plain.parent) == sorted([beside.name, archived.name])


def test_a_hidden_file_of_another_inode_replaces_nothing(tmp_path: Path) -> None:
    """As from a backup: what it holds may be older than the archived movie."""
    plain, archived = make_twins(tmp_path / "archive")
    hidden = hide(plain, archived)
    alter(hidden)
    shutil.copy2(hidden, plain.parent / "new")
    (plain.parent / "new").replace(hidden)
    (message,) = recovered(plain.parent)
    (beside,) = plain.parent.glob("X.changed-*.mrc")
    assert beside.name in message
    assert names(plain.parent) == sorted([beside.name, archived.name])


@pytest.mark.parametrize("has_archived", [False, True])
def test_a_hidden_file_without_a_line_is_restored(tmp_path: Path, has_archived: bool) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    data = plain.read_bytes()
    plain.rename(plain.with_name(hidden_name(plain.name)))
    if not has_archived:
        archived.unlink()
    (message,) = recovered(plain.parent)
    assert "without a journal" in message
    found = [path for path in plain.parent.iterdir() if path != archived]
    assert [path.read_bytes() for path in found] == [data]
    assert (found[0] == plain) == (not has_archived)


def test_a_hidden_name_that_was_shortened_is_reported(tmp_path: Path) -> None:
    name = "n" * 247 + ".mrc"
    hidden = tmp_path / hidden_name(name)
    hidden.write_bytes(b"x")
    messages: list[str] = []
    recover(tmp_path, messages.append)
    assert "hidden file of unknown name" in messages[0]
    assert hidden.read_bytes() == b"x"


@pytest.mark.parametrize("data", [b"garbage", b"0 {}", b"\xff\xfe"])
def test_a_line_that_cannot_be_read_is_reported_and_removes_nothing(tmp_path: Path, data: bytes) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    plain.with_name(JOURNAL_NAME).write_bytes(data + b"\n")
    (message,) = recovered(plain.parent)
    assert f"{JOURNAL_NAME}, line 1: invalid" in message
    assert names(plain.parent) == [plain.name, archived.name]


def test_a_line_about_files_elsewhere_is_invalid(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    line = line_of("thaw", plain, archived)
    for name in ("../X.mrc.tif", "..", ""):
        add_line(plain.parent, Line("thaw", line.counts, FileMark(name, 1, 1, 1)))
        assert not read_journal(plain.parent).lines
        assert "invalid" in recovered(plain.parent)[0]


@pytest.mark.parametrize("name", ["ä b%20.mrc", os.fsdecode(b"\xff\n\\.mrc"), "a\tb.mrc"])
def test_names_of_any_bytes(tmp_path: Path, name: str) -> None:
    plain, archived = tmp_path / name, tmp_path / f"{name}.tif"
    plain.write_bytes(b"plain")
    archived.write_bytes(b"archived")
    line = add("thaw", plain, archived)
    assert read_journal(tmp_path).lines == [line]
    assert not recovered(tmp_path)
    assert names(tmp_path) == [name]


def test_the_folders_below_are_recovered_too(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive" / "a" / "b")
    add("ingest", archived, plain)
    (tmp_path / "archive" / ".cryofs-other").mkdir()
    recover(tmp_path / "archive", pytest.fail)
    assert names(plain.parent) == [archived.name]
