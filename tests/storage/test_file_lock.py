"""Locks of files that several threads and processes change."""

import contextlib
from pathlib import Path

import pytest

from cryofs.storage import changes, ownership
from cryofs.storage.changes import Disk
from cryofs.storage.file_lock import locked


def test_a_lock_that_another_thread_just_took_is_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first holder releases the lock after its file was read, and before it is known whether it still lives."""
    moved: list[Path] = []

    class Recording(Disk):
        def move(self, path: Path, target: Path) -> None:
            moved.append(path)
            super().move(path, target)

    monkeypatch.setattr(changes, "disk", Recording())
    target, calls = tmp_path / "list", 0
    has_ended = ownership.has_ended
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(locked(target))

        def change_hands(name: str) -> bool | None:
            nonlocal calls
            calls += 1
            if calls == 1:
                first.close()
                second.enter_context(locked(target))()
            elif calls == 2:
                second.close()
            return has_ended(name)

        monkeypatch.setattr(ownership, "has_ended", change_hands)
        with locked(target) as check:
            check()
    assert calls >= 2
    assert not moved
    assert list(tmp_path.iterdir()) == []
