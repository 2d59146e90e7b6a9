"""The state of a file: what is known of one state counts for no other."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofs.storage.file_state import is_open_still, is_still, state_of
from tests.support import put_back


def _overwrite(path: Path) -> None:
    path.write_bytes(b"other bytes")


def _replace(path: Path) -> None:
    path.with_name("draft").write_bytes(b"OLD BYTES")
    path.with_name("draft").rename(path)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda path: path.read_bytes(), True),
        (lambda path: path.chmod(0o600), True),
        (lambda path: path.with_name("twin").hardlink_to(path), True),
        (Path.unlink, True),
        (_replace, True),
        (_overwrite, False),
        (lambda path: put_back(path, b"OLD BYTES"), False),
    ],
)
def test_content_of_an_open_file(tmp_path: Path, change: Callable[[Path], object], same: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old bytes")
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        change(path)
        assert is_open_still(file.fileno(), found) is same


def test_a_name_that_leads_to_another_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old bytes")
    state = state_of(path.stat())
    assert is_still(path, state)
    _replace(path)
    assert not is_still(path, state)
    path.unlink()
    assert not is_still(path, state)
