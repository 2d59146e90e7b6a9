"""What libfuse gets of a listing and of attributes, through the wrappers of the binding."""

import ctypes
import os
import shutil
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from cryofs.vfs.attributes import Attributes
from cryofs.vfs.listing import Listed

pytestmark = pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs libfuse 3")

FOUND = Attributes(
    mode=stat.S_IFREG | 0o640,
    size=(1 << 40) + 7,
    mtime_ns=1_700_000_000_123_456_789,
    atime_ns=-1,
    ctime_ns=3_000_000_001,
    uid=1000,
    gid=100,
    inode=(1 << 62) + 5,
    links=2,
    blocks=9,
)
FOLDER = Attributes(stat.S_IFDIR | 0o755, 4096, 0, 0, 0, 0, 0, 17, 3, 8)
LISTED = [
    Listed(".", FOLDER, False, 1),
    Listed("..", FOLDER, False, 2),
    Listed("ö.mrc", FOUND, True, 3),
    Listed("unknown.mrc", FOUND, False, 5),
    Listed("last.mrc", FOUND, True, 9),
]
PLUS = 2


def fields(structure: Any) -> Attributes:
    """The attributes in a structure of stat(2)."""
    times = (structure.st_mtimespec, structure.st_atimespec, structure.st_ctimespec)
    mtime, atime, ctime = (time.tv_sec * 10**9 + time.tv_nsec for time in times)
    return Attributes(
        structure.st_mode,
        structure.st_size,
        mtime,
        atime,
        ctime,
        structure.st_uid,
        structure.st_gid,
        structure.st_ino,
        structure.st_nlink,
        structure.st_blocks,
    )


def filled(flags: int, room: int = 100) -> list[tuple[bytes, Attributes, int, int]]:
    """The entries that libfuse gets, of which so many fit: name, attributes, next position, flags."""
    from cryofs.fuse.binding import Fuse
    from cryofs.fuse.libfuse import mfusepy

    asked: list[tuple[str, int, int]] = []
    found: list[tuple[bytes, Attributes, int, int]] = []

    def listed(path: str, offset: int, handle: int) -> list[Listed]:
        asked.append((path, offset, handle))
        return LISTED

    def fill(_: Any, name: bytes, structure: Any, following: int, fill_flags: int) -> int:
        if len(found) == room:
            return 1
        found.append((name, fields(structure.contents), following, fill_flags))
        return 0

    stat_pointer = ctypes.POINTER(mfusepy.c_stat)
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, stat_pointer, ctypes.c_long, ctypes.c_int
    )
    filler = prototype(fill)
    operations = SimpleNamespace(readdir_with_offset=listed)
    fuse: Any = SimpleNamespace(operations=operations, encoding="utf-8", errors="surrogateescape")
    info = SimpleNamespace(contents=SimpleNamespace(fh=4))
    assert Fuse.readdir_fuse_3(fuse, "/Möve".encode(), None, filler, 6, info, flags) == 0
    assert asked == [("/Möve", 6, 4)]
    return found


def test_complete_entries_carry_attributes() -> None:
    found = filled(flags=1)
    assert [(name.decode(), following, flags) for name, _, following, flags in found] == [
        # without, libfuse 3.10 and earlier give them an invalid inode number
        (".", 1, PLUS),
        ("..", 2, PLUS),
        ("ö.mrc", 3, PLUS),
        ("unknown.mrc", 5, 0),
        ("last.mrc", 9, PLUS),
    ]
    assert found[2][1] == found[4][1] == FOUND
    assert {(attributes.mode, attributes.inode) for _, attributes, _, _ in found[:2]} == {(FOLDER.mode, FOLDER.inode)}


def test_a_kernel_that_wants_names_gets_names() -> None:
    found = filled(flags=0)
    assert not any(flags for _, _, _, flags in found)
    assert [(attributes.mode, attributes.inode) for _, attributes, _, _ in found] == [
        (entry.attributes.mode, entry.attributes.inode) for entry in LISTED
    ]


def test_nothing_is_added_to_a_full_buffer() -> None:
    assert [name for name, _, _, _ in filled(flags=1, room=3)] == [b".", b"..", "ö.mrc".encode()]


def test_attributes_of_a_path_fill_the_structure() -> None:
    from cryofs.fuse.binding import Fuse
    from cryofs.fuse.libfuse import mfusepy

    asked: list[tuple[str, Any]] = []

    def attributes(path: str, info: Any) -> Attributes:
        asked.append((path, info))
        return FOUND

    fuse: Any = SimpleNamespace(operations=SimpleNamespace(getattr=attributes), encoding="utf-8", errors="strict")
    structure = mfusepy.c_stat()
    # what was there before must not remain
    ctypes.memset(ctypes.byref(structure), 0xFF, ctypes.sizeof(structure))
    assert Fuse.fgetattr(fuse, os.fsencode("/x.mrc"), ctypes.pointer(structure), None) == 0
    assert fields(structure) == FOUND
    assert (structure.st_rdev, structure.st_blksize) == (0, 1 << 20)
    assert asked == [("/x.mrc", None)]
