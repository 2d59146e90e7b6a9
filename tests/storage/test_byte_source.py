"""Bytes at offsets: whole, or an error; and no other place of cryofs reads them."""

import ast
from pathlib import Path

import pytest

import cryofs
from cryofs.errors import DamagedError
from tests import faults
from tests.conftest import open_bytes

CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize(("size", "offset"), [(0, 0), (1, 0), (256, 5), (len(CONTENT), 0), (900, len(CONTENT) - 900)])
def test_short_reads_are_gone_on_with(monkeypatch: pytest.MonkeyPatch, size: int, offset: int) -> None:
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
        with pytest.raises(DamagedError, match=f"a.tif: 70 of 100 bytes are missing, the file ends at byte {end}; re"):
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
