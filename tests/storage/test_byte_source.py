"""Bytes at offsets: whole, or an error; and no other place of cryofs reads them."""

import ast
import errno
import os
from pathlib import Path

import pytest

import cryofs
from cryofs.errors import DamagedError
from cryofs.storage.byte_source import LocalFile
from tests import faults
from tests.conftest import open_bytes

CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize(("size", "offset"), [(0, 0), (1, 0), (256, 5), (len(CONTENT), 0), (900, len(CONTENT) - 900)])
def test_short_reads_are_continued(monkeypatch: pytest.MonkeyPatch, size: int, offset: int) -> None:
    faulty = faults.inject(monkeypatch, faults.short)
    memory = bytearray(size)
    with open_bytes(CONTENT) as source:
        assert source.read(size, offset) == CONTENT[offset : offset + size]
        assert source.read_exactly(size, offset, "x") == CONTENT[offset : offset + size]
        assert source.read_into(memoryview(memory), offset) == size
    assert memory == CONTENT[offset : offset + size]
    assert faulty.reads > (3 if size > 1 else 0)


@pytest.mark.parametrize("fault", [faults.none, faults.short])
def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, fault: faults.Fault) -> None:
    faults.inject(monkeypatch, fault)
    memory = bytearray(100)
    with open_bytes(CONTENT) as source:
        end = len(CONTENT)
        assert source.read(100, end - 30) == CONTENT[-30:]
        assert source.read(100, end + 1) == b""
        assert source.read_into(memoryview(memory), end - 30) == 30
        with pytest.raises(
            DamagedError, match=rf"a.tif: truncated, 70 of 100 bytes missing \(the file ends at byte {end}\); re"
        ):
            source.read_exactly(100, end - 30, "a.tif")


def test_bytes_are_read_in_one_place() -> None:
    package = Path(cryofs.__file__).parent
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("pread", "preadv", "readv", "mmap", "memmap", "fromfile")
    }
    assert readers == {"storage/byte_source.py"}


@pytest.mark.parametrize(("size", "offset"), [(0, 0), (100, 0), (100, len(CONTENT) - 30), (100, len(CONTENT) + 5)])
def test_what_is_cached_is_what_is_read(tmp_path: Path, size: int, offset: int) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with LocalFile.open(tmp_path / "file") as source:
        found = source.read_cached(size, offset)
        # not every file system reports what is in memory
        assert found is None or found.tobytes() == source.read(size, offset)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP, errno.EIO])
def test_what_is_not_cached_is_left_to_a_read(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    flags_used = []

    def refuse(descriptor: int, buffers: list[memoryview], offset: int, flags: int) -> int:
        flags_used.append(flags)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(LocalFile, "_preadv", staticmethod(refuse))
    with open_bytes(CONTENT) as source:
        assert [source.read_cached(100, 0) for _ in range(3)] == [None] * 3
        assert source.read(100, 0) == CONTENT[:100]
    assert flags_used == [os.RWF_NOWAIT] * (3 if code == errno.EAGAIN else 1)


def test_a_part_that_is_cached_is_not_taken_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalFile, "_preadv", staticmethod(lambda *_: 60))
    with open_bytes(CONTENT) as source:
        assert source.read_cached(100, 0) is None


def test_a_source_closes_the_descriptor_that_it_owns_once() -> None:
    with open_bytes(CONTENT) as source:
        part = source.first_bytes(10)
        part.close()
        LocalFile(source.descriptor, "shared", is_owned=False).close()
        assert (part.size, source.size) == (10, len(CONTENT))
        assert source.read(5, 0) == CONTENT[:5]
        source.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            source.read(5, 0)
