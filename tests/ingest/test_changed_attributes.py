"""Mode, owner, times and attributes of archived movies are set without decoding, and recorded later."""

import errno
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cryofs.errors import DamagedError
from cryofs.formats.changed_attributes import CHANGED, ChangedAttributes
from cryofs.formats.record import read_record
from cryofs.ingest.record_attributes import hold, record_changed
from cryofs.movies.archived import check_pages
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.changes import Disk
from cryofs.storage.journal import FileMark, Line, add_line
from cryofs.system.renaming import EXCHANGE
from cryofs.vfs.changing import AttributeChange
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import writable
from tests.ingest.runs import ingested
from tests.outcomes import extracted, verified
from tests.support import archive, wait_for, written_movie
from tests.vfs.serving import content, serving

MODE, TIMES = 0o4711, (10**18 + 1, 10**18 + 7)
CHANGES = (AttributeChange(mode=MODE), AttributeChange(atime_ns=TIMES[0], mtime_ns=TIMES[1]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with two movies, next to their originals."""
    folder = tmp_path_factory.mktemp("attributes")
    for seed, name in enumerate(("X.mrc", "Y.mrc")):
        written_movie(folder / "session" / name, seed)
        os.utime(folder / "session" / name, ns=(5, 10**18 + seed))
        (folder / "session" / name).chmod(0o640)
    archive(folder / "session", folder / "archive")
    return folder


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "archive", tmp_path / "archive"))


@pytest.fixture
def data(made: Path) -> bytes:
    return (made / "session" / "X.mrc").read_bytes()


def change(files: WritableFileSystem, path: str = "/X.mrc") -> None:
    for one in CHANGES:
        files.set_attributes(path, one, None)


def seen(folder: Path, name: str = "X.mrc") -> tuple[int, int, int]:
    """Mode and times that a read-only mount shows."""
    with serving(folder) as files:
        found = files.attributes(f"/{name}")
        return stat.S_IMODE(found.mode), found.atime_ns, found.mtime_ns


def is_held(stored: Path) -> bool:
    return CHANGED in os.listxattr(stored)


NEW = (MODE, *TIMES)
OLD = (0o640, 5, 10**18)


def test_every_reader_follows_at_once_without_decoding(copied: Path, tmp_path: Path) -> None:
    stored = copied / "X.mrc.tif"
    damaged = bytearray(stored.read_bytes())
    damaged[1000:1200] = bytes(200)
    whole = stored.read_bytes()
    stored.write_bytes(damaged)
    before = stored.stat()
    with writable(copied, settle=1000) as files:
        change(files)
        assert not (copied / "X.mrc").exists()
    found = stored.stat()
    assert (found.st_ino, found.st_size, found.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    # the archive protects it as the mount does
    assert stat.S_IMODE(found.st_mode) == 0o711
    with stored.open("r+b") as file:
        file.write(whole)
    assert seen(copied) == NEW
    assert not verified(copied)[1]
    extracted(stored, to=tmp_path / "restored")
    restored = (tmp_path / "restored" / "X.mrc").stat()
    assert (stat.S_IMODE(restored.st_mode), restored.st_mtime_ns) == (MODE, TIMES[1])
    shutil.copyfile(stored, tmp_path / "X.mrc.tif")
    assert seen(tmp_path) == OLD


def test_open_files_show_changes(copied: Path, data: bytes) -> None:
    with writable(copied, settle=1000) as files:
        handle = files.open("/X.mrc")
        inode = files.open_attributes(handle).inode
        change(files)
        found = files.open_attributes(handle)
        assert (stat.S_IMODE(found.mode), found.mtime_ns, found.inode) == (MODE, TIMES[1], inode)
        assert files.attributes("/X.mrc").inode == inode
        assert bytes(files.read(handle, len(data), 0)) == data
        files.set_attributes("/X.mrc", AttributeChange(mtime_ns=3), handle)
        assert files.open_attributes(handle).mtime_ns == 3
        files.sync(handle)
        files.release(handle)


def test_a_change_of_owner_clears_bits(copied: Path) -> None:
    with writable(copied, settle=1000) as files:
        change(files)
        files.set_attributes("/X.mrc", AttributeChange(uid=os.geteuid()), None)
    assert seen(copied)[0] == 0o711


def test_changes_are_recorded_when_the_mount_is_idle(copied: Path, data: bytes, tmp_path: Path) -> None:
    stored = copied / "X.mrc.tif"
    os.setxattr(stored, "user.note", b"kept")
    with writable(copied, settle=0.2) as files:
        handle = files.open("/X.mrc")
        inode = files.attributes("/X.mrc").inode
        change(files)
        wait_for(lambda: not is_held(stored))
        found = files.attributes("/X.mrc")
        assert (stat.S_IMODE(found.mode), found.atime_ns, found.mtime_ns, found.inode) == (*NEW, inode)
        assert files.open_attributes(handle).inode == inode
        assert bytes(files.read(handle, len(data), 0)) == content(files, "/X.mrc") == data
        files.release(handle)
    assert os.getxattr(stored, "user.note") == b"kept"
    shutil.copyfile(stored, tmp_path / "X.mrc.tif")
    assert seen(tmp_path) == NEW
    assert not verified(copied)[1]


def test_changes_that_an_earlier_mount_left_are_recorded(copied: Path) -> None:
    with writable(copied, settle=1000) as files:
        change(files)
    with writable(copied, settle=0):
        wait_for(lambda: not is_held(copied / "X.mrc.tif"))
    assert seen(copied) == NEW


def test_ingest_records_changes(copied: Path, data: bytes) -> None:
    with writable(copied, settle=1000) as files:
        change(files)
        change(files, "/Y.mrc")
    os.link(copied / "Y.mrc.tif", copied / "Z.mrc.tif")
    _, listener = ingested(copied)
    assert listener.notes == [f"{copied / 'X.mrc.tif'}: changed attributes recorded"]
    assert not is_held(copied / "X.mrc.tif")
    # another name of the same file would not follow
    assert is_held(copied / "Y.mrc.tif")
    assert seen(copied) == seen(copied, "Y.mrc") == seen(copied, "Z.mrc") == NEW
    with serving(copied) as files:
        assert content(files, "/X.mrc") == data


def test_an_access_time_alone_is_not_worth_a_new_file(copied: Path) -> None:
    stored = copied / "X.mrc.tif"
    before = stored.stat()
    with writable(copied, settle=1000) as files:
        files.set_attributes("/X.mrc", AttributeChange(atime_ns=77), None)
    ingested(copied)
    found = stored.stat()
    assert (found.st_ino, found.st_mode) == (before.st_ino, before.st_mode)
    assert seen(copied) == (OLD[0], 77, OLD[2])


def test_a_file_that_the_journal_describes_is_not_replaced(copied: Path) -> None:
    stored = copied / "X.mrc.tif"
    with writable(copied, settle=1000) as files:
        change(files)
    other = FileMark("X.mrc", 1, 1, 1)
    add_line(copied, Line("kept", FileMark.of(stored.name, stored.stat()), other, ".cryofs-kept-1", 1.0))
    notes: list[str] = []
    record_changed(copied, notes.append, lambda: None)
    assert notes == [
        f"{stored}: changed attributes not recorded (the journal of its folder has an unfinished step for it)"
    ]
    assert is_held(stored)


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOSPC, errno.EACCES])
def test_without_extended_attributes_the_record_is_written_at_once(
    copied: Path, data: bytes, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Disk, "set_attribute", refuse)
    with writable(copied, settle=1000) as files:
        handle = files.open("/X.mrc")
        change(files)
        assert files.open_attributes(handle).mtime_ns == TIMES[1]
        assert bytes(files.read(handle, len(data), 0)) == data
        files.release(handle)
    assert not is_held(copied / "X.mrc.tif")
    assert sorted(path.name for path in copied.glob("X*")) == ["X.mrc.tif"]
    assert seen(copied) == NEW


def test_a_thaw_and_renames_keep_them(copied: Path, data: bytes) -> None:
    other = seen(copied, "Y.mrc")
    with writable(copied, settle=1000) as files:
        change(files)
        files.names.move("/X.mrc", "/Y.mrc", EXCHANGE)
        found = files.attributes("/Y.mrc")
        assert (stat.S_IMODE(found.mode), found.atime_ns, found.mtime_ns) == NEW
        files.names.move("/Y.mrc", "/Z.mrc", 0)
        files.release(files.open("/Z.mrc", os.O_RDWR))
    plain = (copied / "Z.mrc").stat()
    assert (stat.S_IMODE(plain.st_mode), plain.st_mtime_ns) == (MODE, TIMES[1])
    assert os.listxattr(copied / "Z.mrc") == []
    assert (copied / "Z.mrc").read_bytes() == data
    assert seen(copied) == other


def test_a_change_while_another_thread_thaws(copied: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with writable(copied, settle=1000) as files, monkeypatch.context() as patch:

        def meanwhile(movie: Any) -> None:
            patch.undo()
            check_pages(movie)
            change(files)

        patch.setattr("cryofs.ingest.thaw.check_pages", meanwhile)
        files.release(files.open("/X.mrc", os.O_RDWR))
    plain = (copied / "X.mrc").stat()
    assert (stat.S_IMODE(plain.st_mode), plain.st_mtime_ns) == (MODE, TIMES[1])
    assert (copied / "X.mrc").read_bytes() == data


def test_invalid_values_are_damage(copied: Path) -> None:
    stored = copied / "X.mrc.tif"
    os.setxattr(stored, CHANGED, b'{"mode":99999,"mtime_ns":1,"atime_ns":1}')
    with LocalFile.open(stored) as source, pytest.raises(DamagedError, match=f"remove it with setfattr -x {CHANGED}"):
        read_record(source)
    os.removexattr(stored, CHANGED)
    assert seen(copied) == OLD


def test_a_pair_of_which_neither_counts_is_not_changed(copied: Path) -> None:
    (copied / "X.mrc").write_bytes(b"another")
    with writable(copied, settle=1000) as files:
        for one in CHANGES:
            with pytest.raises(DamagedError):
                files.set_attributes("/X.mrc", one, None)
    assert (copied / "X.mrc").read_bytes() == b"another"
    assert not is_held(copied / "X.mrc.tif")


def test_a_copy_of_the_original_beside_it_does_not_come_back(copied: Path, made: Path) -> None:
    shutil.copy2(made / "session" / "X.mrc", copied)
    with writable(copied, settle=1000) as files:
        change(files)
        assert files.attributes("/X.mrc").mtime_ns == TIMES[1]
    assert seen(copied) == NEW


def test_attributes_of_cryofs_belong_to_cryofs(copied: Path) -> None:
    with writable(copied, settle=1000) as files:
        change(files)
        for path in ("/X.mrc", "/notes"):
            if path == "/notes":
                (copied / "notes").touch()
                os.setxattr(copied / "notes", CHANGED, b"by hand")
            assert files.attribute_changes.list_extended(path) == []
            with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
                files.attribute_changes.get_extended(path, CHANGED)
            for value in (b"1", None):
                with pytest.raises(OSError, match="attribute namespace not supported"):
                    files.attribute_changes.set_extended(path, CHANGED, value)
    assert seen(copied) == NEW


def test_a_plain_movie_brings_none_of_them(copied: Path, made: Path) -> None:
    shutil.copy2(made / "session" / "X.mrc", copied / "N.mrc")
    os.setxattr(copied / "N.mrc", CHANGED, b"by hand")
    ingested(copied)
    assert os.listxattr(copied / "N.mrc.tif") == []
    assert seen(copied, "N.mrc")[::2] == OLD[::2]


def test_each_change_moves_the_ctime(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches know the state of a file by it; kernels before Linux 6.13 may give several changes the same one."""
    stored = copied / "X.mrc.tif"
    calls: list[str] = []

    def fstat(descriptor: int) -> Any:
        found = os.stat(descriptor)
        return SimpleNamespace(st_ctime_ns=found.st_ctime_ns if len(calls) > 2 else 1)

    def set_attribute(disk: Disk, descriptor: int, name: str, value: bytes) -> None:
        calls.append(name)
        os.setxattr(descriptor, name, value)

    monkeypatch.setattr(Disk, "set_attribute", set_attribute)
    with LocalFile.open(stored) as source:
        original = read_record(source).original
        monkeypatch.setattr(os, "fstat", fstat)
        assert hold(source, original, ChangedAttributes(original.mode, 5, 6))
    assert calls == [CHANGED] * 3
    monkeypatch.undo()
    assert seen(copied)[1:] == (6, 5)
