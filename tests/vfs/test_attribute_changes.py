"""Attributes of files that are replaced at the same moment."""

import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.ingest.mounts import writable


@pytest.mark.parametrize("call", ["get_extended", "list_extended"])
def test_attributes_are_read_before_a_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    place = tmp_path / "a.mrc"
    place.write_bytes(b"1")
    os.setxattr(place, "user.x", b"value")
    with writable(tmp_path, settle=1000) as files:
        parts = files.attribute_changes._parts
        replaced = parts.root.path / "a.mrc"
        threads = []

        def replace() -> None:
            with parts.names.locked(replaced):
                place.unlink()

        lookup = parts.tree.lookup

        def looked_up(path: str) -> Any:
            found = lookup(path)
            threads.append(Thread(target=replace))
            threads[0].start()
            # returns at once if the name is not locked
            threads[0].join(0.2)
            return found

        monkeypatch.setattr(parts.tree, "lookup", looked_up)
        if call == "get_extended":
            assert files.attribute_changes.get_extended("/a.mrc", "user.x") == b"value"
        else:
            assert files.attribute_changes.list_extended("/a.mrc") == ["user.x"]
        threads[0].join()
