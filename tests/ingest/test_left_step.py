"""A mount changes a name about which the journal has a line, because its original is kept hidden."""

import os
from pathlib import Path

import pytest

from cryofs.archive.recovery import recover
from cryofs.vfs.writable import WritableFileSystem
from tests.ingest.mounts import Change, shown, writable
from tests.ingest.runs import ingested, remote
from tests.support import written_movie


def write(files: WritableFileSystem) -> None:
    handle = files.open("/X.mrc", os.O_RDWR)
    files.write(handle, memoryview(b"changed"), 2000)
    files.release(handle)


def move(files: WritableFileSystem) -> None:
    files.names.move("/X.mrc", "/Y.mrc", 0)


def remove(files: WritableFileSystem) -> None:
    files.names.remove("/X.mrc")


@pytest.mark.parametrize(("change", "name"), [(write, "X.mrc"), (move, "Y.mrc"), (remove, None)])
def test_a_hidden_original_gets_its_name_before_the_movie_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, name: str | None
) -> None:
    """On network storage another machine may still write into it."""
    remote(monkeypatch)
    folder = tmp_path / "archive"
    data = written_movie(folder / "X.mrc").read_bytes()
    assert ingested(folder)[0].hidden == 1
    (hidden,) = folder.glob(".cryofs-kept-*")
    with hidden.open("r+b", buffering=0) as elsewhere, writable(folder, settle=1000) as files:
        reader = files.open("/X.mrc")
        assert bytes(files.read(reader, 10**6, 0)) == data
        change(files)
        files.release(reader)
        os.pwrite(elsewhere.fileno(), b"late", 5000)
    expected = data[:5000] + b"late" + data[5004:]
    if change is write:
        expected = expected[:2000] + b"changed" + expected[2007:]
    for _ in range(2):
        recover(folder, pytest.fail)
        assert shown(folder) == ({} if name is None else {name: expected})
    assert [path.name for path in folder.iterdir()] == ([] if name is None else [name])
