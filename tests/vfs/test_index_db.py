"""The index: what an earlier mount learned, never anything that could be wrong."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from cryofs.storage.file_state import FileState
from cryofs.vfs.index_db import Index, index_path

ONE, TWO = FileState(66, 1001, 5000, 10**18, 9), FileState(66, 1002, 2**62, -1, 9)
MANY = [(".eer", FileState(1, number, 2, 3, 4), b"x" * 50) for number in range(200)]


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
def test_an_altered_entry_is_skipped(tmp_path: Path, change: str) -> None:
    path = tmp_path / "index.sqlite"
    with closing(Index(path)) as index:
        index.add([(".mrc.tif", ONE, b"one"), (".mrc.tif", TWO, b"two")])
    with sqlite3.connect(path) as connection:
        connection.execute(f"update entries set {change} where inode = {ONE[1]}")
    connection.close()
    assert entries(path) == [(".mrc.tif", TWO, b"two")]


@pytest.mark.parametrize("damage", [b"", b"no database" * 100])
def test_a_damaged_index_is_rebuilt(tmp_path: Path, damage: bytes) -> None:
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
    assert "recreated" in caplog.text
    assert entries(path) == sorted(many)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An index of some pages."""
    path = tmp_path_factory.mktemp("whole") / "index.sqlite"
    with closing(Index(path)) as index:
        index.add(MANY)
    return path.read_bytes()


def damage(whole: bytes, seed: int) -> bytes:
    """Change some bytes, mostly in the structures of SQLite, or drop the end."""
    random = Random(seed)
    data = bytearray(whole)
    for _ in range(random.choice([1, 1, 4, 40])):
        end = random.choice([100, 600, 4096, len(data)])
        data[random.randrange(end)] = random.choice([0, 0xFF, random.randrange(256)])
    return bytes(data[: random.randrange(len(data))] if random.random() < 0.1 else data)


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_index_returns_nothing_wrong_and_is_rebuilt(whole: bytes, tmp_path: Path, part: int) -> None:
    path = tmp_path / "index.sqlite"
    for seed in range(part * 100, part * 100 + 100):
        path.write_bytes(damage(whole, seed))
        # what is damaged may show late, and takes with it what was added before
        for _ in range(4):
            with closing(Index(path)) as index:
                assert set(index.entries()) <= set(MANY), seed
                index.remove([MANY[0][:2]])
                index.add(MANY)
        assert set(entries(path)) == set(MANY), seed


@pytest.mark.parametrize("change", ["value = 'text'", "value = null", "value = 3", "kind = cast(x'ff' as text)"])
def test_values_of_other_types_are_skipped(tmp_path: Path, change: str) -> None:
    path = tmp_path / "index.sqlite"
    with closing(Index(path)) as index:
        index.add([(".eer", ONE, b"one")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"update entries set {change}")
    assert entries(path) == []


def test_a_file_that_is_locked_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path: connect(path, timeout=0.1))
    path = tmp_path / "index.sqlite"
    with closing(Index(path)) as index:
        index.add([(".eer", ONE, b"one")])
        with closing(connect(path)) as other:
            other.execute("begin exclusive")
            assert entries(path) == []
            assert "cannot use the index (database is locked)" in caplog.text
            assert list(index.entries()) == []
    assert entries(path) == [(".eer", ONE, b"one")]


def test_mounts_work_without_a_usable_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with closing(Index(tmp_path / "file" / "index.sqlite")) as index:
        index.add([(".eer", ONE, b"one")])
        assert list(index.entries()) == []
    assert "cannot use the index" in caplog.text
    assert entries(None) == []


def test_each_archive_has_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = index_path(Path("/archive/one")), index_path(Path("/archive/other"))
    assert one is not None
    assert one != other
    assert one.parent == tmp_path / "cryofs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert index_path(Path("/a")) == Path("/home/user/.cache/cryofs") / index_path(Path("/a")).name  # type: ignore[union-attr]
