"""The index: what an earlier mount learned, never anything that could be wrong."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cryofs.file_state import FileState
from cryofs.vfs.index import Index, index_path

ONE, TWO = FileState(66, 1001, 5000, 10**18, 9), FileState(66, 1002, 2**62, -1, 9)


def entries(path: Path | None) -> list[tuple[str, tuple[int, ...], bytes]]:
    with closing(Index(path)) as index:
        return sorted(index.entries())


def test_what_was_added_is_there_next_time(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "index.sqlite"
    with closing(Index(path)) as index:
        assert list(index.entries()) == []
        index.add([(".mrc.tif", ONE, b"one"), (".eer", TWO, b"two")])
        index.add([(".mrc.tif", ONE, b"one again")])
    assert entries(path) == [(".eer", TWO, b"two"), (".mrc.tif", ONE, b"one again")]
    with closing(Index(path)) as index:
        index.remove([(".eer", TWO), (".mrc.tif", TWO)])
    assert entries(path) == [(".mrc.tif", ONE, b"one again")]


@pytest.mark.parametrize(
    "change",
    ["value = x'00'", "size = size + 1", "inode = 7", "mtime_ns = 0", "ctime_ns = 0", "kind = '.eer'", "sum = ''"],
)
def test_an_entry_that_was_altered_is_passed_over(tmp_path: Path, change: str) -> None:
    path = tmp_path / "index.sqlite"
    with closing(Index(path)) as index:
        index.add([(".mrc.tif", ONE, b"one"), (".mrc.tif", TWO, b"two")])
    with sqlite3.connect(path) as connection:
        connection.execute(f"update entries set {change} where inode = {ONE[1]}")
    connection.close()
    assert entries(path) == [(".mrc.tif", TWO, b"two")]


@pytest.mark.parametrize("damage", [b"", b"no database" * 100])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "index.sqlite"
    with closing(Index(path)) as index:
        index.add([(".eer", ONE, b"one")])
    path.write_bytes(damage)
    assert entries(path) == []
    with closing(Index(path)) as index:
        index.add([(".eer", TWO, b"two")])
    assert entries(path) == [(".eer", TWO, b"two")]


def test_pages_that_are_damaged_end_the_list_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "index.sqlite"
    many = [(".eer", FileState(1, number, 2, 3, 4), b"x" * 100) for number in range(2000)]
    with closing(Index(path)) as index:
        index.add(many)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    with closing(Index(path)) as index:
        found = list(index.entries())
        index.add(many)
    assert set(found) < set(many)
    assert "not usable" in caplog.text


def test_a_file_that_cannot_be_used_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with closing(Index(tmp_path / "file" / "index.sqlite")) as index:
        index.add([(".eer", ONE, b"one")])
        assert list(index.entries()) == []
    assert "not usable" in caplog.text
    assert entries(None) == []


def test_each_archive_has_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = index_path(Path("/archive/one")), index_path(Path("/archive/other"))
    assert one is not None
    assert one != other
    assert one.parent == tmp_path / "cryofs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert index_path(Path("/a")) == Path("/home/somebody/.cache/cryofs") / index_path(Path("/a")).name  # type: ignore[union-attr]
