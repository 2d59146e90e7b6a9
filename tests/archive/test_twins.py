"""Commands that read an archive where a plain file and an archived movie of one name exist."""

import os
from pathlib import Path

import pytest

from cryofs.storage.archive_lock import Activity, ArchiveLock
from cryofs.storage.hidden_files import hidden_name
from tests.outcomes import extracted, verified
from tests.support import run_in_process
from tests.twins import add, alter, make_twins


def source_of(plain: Path) -> Path:
    return plain.parent.parent / "source 0"


def test_an_archived_movie_counts_beside_a_copy_of_its_original(tmp_path: Path) -> None:
    plain, _ = make_twins(tmp_path / "archive")
    data = plain.read_bytes()
    checked, errors = verified(plain.parent)
    assert (checked.movies, checked.without_checksum, errors) == (1, 0, [])
    assert not extracted(plain.parent, to=tmp_path / "back")[1]
    assert (tmp_path / "back" / "X.mrc").read_bytes() == data
    assert run_in_process("compare", source_of(plain), plain.parent).returncode == 0
    assert run_in_process("doctor", plain.parent, check=False).returncode == 0


def test_files_that_differ_are_named_by_every_command(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    alter(plain)
    for command in (
        ("verify", plain.parent),
        ("extract", plain.parent, "-o", tmp_path / "back"),
        ("compare", source_of(plain), plain.parent),
        ("doctor", plain.parent),
    ):
        done = run_in_process(*command, check=False)
        assert done.returncode == 1, command
        assert str(plain) in done.stdout + done.stderr
        assert archived.name in done.stdout + done.stderr
    assert not list((tmp_path / "back").iterdir())
    assert plain.exists()
    assert archived.exists()


def test_a_plain_file_that_counts_is_the_one_that_commands_read(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    alter(plain)
    add("thaw", plain, archived)
    assert not extracted(plain.parent, to=tmp_path / "back")[1]
    assert (tmp_path / "back" / "X.mrc").read_bytes() == plain.read_bytes()
    done = run_in_process("compare", source_of(plain), plain.parent, check=False)
    assert done.returncode == 1
    assert "first difference" in done.stdout + done.stderr
    done = run_in_process("doctor", plain.parent, check=False)
    assert "recover with cryofs ingest" in done.stdout
    assert verified(plain.parent)[0].movies == 0


def test_hidden_files_are_listed_by_doctor(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    hidden = hidden_name(plain.name)
    add("kept", archived, plain, hidden)
    plain.rename(plain.with_name(hidden))
    done = run_in_process("doctor", archived.parent)
    assert hidden in done.stdout
    assert "journals" not in done.stdout


@pytest.mark.parametrize("damage", ["plain", "archived"])
def test_damage_is_reported_as_such(tmp_path: Path, damage: str) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    if damage == "archived":
        archived.write_bytes(archived.read_bytes()[:-100])
        assert "truncated" in str(verified(plain.parent)[1][0])
    else:
        plain.write_bytes(b"")
        assert "differs from the original" in str(verified(plain.parent)[1][0])


def test_doctor_names_the_commands_that_change_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = make_twins(tmp_path / "archive")
    with ArchiveLock(plain.parent, Activity.INGEST):
        assert f"in use by cryofs ingest (process {os.getpid()} on " in run_in_process("doctor", plain.parent).stdout
    with monkeypatch.context() as patch:
        patch.setattr("cryofs.storage.archive_lock._boot_id", lambda: "another boot")
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        lock = ArchiveLock(plain.parent, Activity.MOUNT)
    done = run_in_process("doctor", plain.parent, check=False)
    assert "on another machine" in done.stdout
    assert "--break-lock" in done.stdout
    lock.release()
