"""A plain movie of an archive becomes an archived movie: drafts, and the steps that replace one by the other."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.archive.recovery import recover
from cryofs.errors import ArchiveError, ChangedError, NoReferenceError, NotSmallerError
from cryofs.ingest.draft import DraftOptions, MakeDrafts, Ready
from cryofs.ingest.publish import publish
from cryofs.storage.atomic_file import OWN_PREFIX
from cryofs.storage.leases import LeaseUsers, is_held
from cryofs.storage.steps import Ended
from tests.outcomes import verified
from tests.support import restored, simulated, wait_for, written_movie


def draft_of(plain: Path, archive: Path, options: DraftOptions | None = None) -> Ready:
    return MakeDrafts(archive, options or DraftOptions(threads=2))(plain, lambda _: None)


def own_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.name.startswith(OWN_PREFIX))


def test_an_archived_movie_replaces_the_plain_one(tmp_path: Path) -> None:
    plain = written_movie(tmp_path / "archive" / "a" / "X.mrc")
    os.utime(plain, ns=(5, 10**18 + 7))
    plain.chmod(0o640)
    os.setxattr(plain, "user.note", b"kept")
    data, found = plain.read_bytes(), plain.stat()
    ready = draft_of(plain, tmp_path / "archive")
    with LeaseUsers(plain, ready.state, covers=True) as users:
        assert publish(ready, users) is Ended.REMOVED
    assert [path.name for path in plain.parent.iterdir()] == ["X.mrc.tif"]
    assert os.getxattr(ready.target, "user.note") == b"kept"
    assert (ready.target.stat().st_mode, ready.target.stat().st_uid) == (found.st_mode, found.st_uid)
    back = restored(tmp_path / "archive", tmp_path / "back") / "a" / "X.mrc"
    assert back.read_bytes() == data
    assert (back.stat().st_mtime_ns, back.stat().st_mode) == (found.st_mtime_ns, found.st_mode)
    assert not verified(tmp_path / "archive")[1]


def test_a_file_that_may_be_open_is_hidden(tmp_path: Path) -> None:
    plain = written_movie(tmp_path / "X.mrc")
    inode = plain.stat().st_ino
    ready = draft_of(plain, tmp_path)
    with LeaseUsers(plain, ready.state, covers=False) as users:
        assert publish(ready, users) is Ended.KEPT
    assert not plain.exists()
    assert [path.stat().st_ino for path in tmp_path.glob(".cryofs-kept-*")] == [inode]
    # recovery leaves it alone while it does not change
    messages: list[str] = []
    recover(tmp_path, messages.append)
    recover(tmp_path, messages.append)
    assert not messages
    assert ready.target.exists()


def test_a_hidden_file_that_changes_is_put_back(tmp_path: Path) -> None:
    plain = written_movie(tmp_path / "X.mrc")
    with plain.open("r+b") as writer:
        ready = draft_of(plain, tmp_path)
        with LeaseUsers(plain, ready.state, covers=False) as users:
            assert publish(ready, users) is Ended.KEPT
        writer.seek(0, os.SEEK_END)
        writer.write(b"more")
    messages: list[str] = []
    recover(tmp_path, messages.append)
    assert plain.read_bytes().endswith(b"more")
    assert len(messages) == 1
    assert "changed after it was archived" in messages[0]
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc"]


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_a_file_that_is_open_is_not_replaced(tmp_path: Path, mode: str) -> None:
    plain = written_movie(tmp_path / "X.mrc")
    ready = draft_of(plain, tmp_path)
    with plain.open(mode), pytest.raises(ChangedError, match="open in another program"):
        LeaseUsers(plain, ready.state, covers=True)
    ready.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc"]


def test_a_file_that_changed_since_is_not_replaced(tmp_path: Path) -> None:
    plain = written_movie(tmp_path / "X.mrc")
    ready = draft_of(plain, tmp_path)
    with plain.open("r+b") as writer:
        writer.write(b"new")
    with LeaseUsers(plain, ready.state, covers=True) as users, pytest.raises(ChangedError, match="changed"):
        publish(ready, users)
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc"]


def test_a_movie_waits_for_a_gain_reference(tmp_path: Path) -> None:
    plain = simulated(tmp_path / "X.mrc", frames=3)
    with pytest.raises(NoReferenceError):
        draft_of(plain, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc"]


def test_a_movie_of_noise_stays_plain(tmp_path: Path) -> None:
    plain = tmp_path / "X.mrc"
    values = np.random.default_rng(1).integers(-(2**15), 2**15, (2, 60, 50)).astype("<i2")
    plain.write_bytes(header((2, 60, 50), 1) + values.tobytes())
    with pytest.raises(NotSmallerError):
        draft_of(plain, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc"]


def test_an_owner_that_cannot_be_kept_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = written_movie(tmp_path / "X.mrc")
    if os.geteuid() == 0:
        os.chown(plain, 12345, 12345)
        draft_of(plain, tmp_path).discard()
    monkeypatch.setattr("cryofs.storage.changes.disk.set_owner", _refuse, raising=False)
    if os.geteuid() == 0:
        with pytest.raises(ArchiveError, match="owner"):
            draft_of(plain, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc"]


def _refuse(*_: object) -> None:
    raise PermissionError


class Opening(LeaseUsers):
    """Users of a file that another program begins to open after the draft has its name."""

    def __init__(self, ready: Ready, mode: str):
        super().__init__(ready.plain, ready.state, covers=True)
        self._pool = ThreadPoolExecutor(1)
        self._mode = mode
        self.opened: Future[IO[bytes]] | None = None

    def switch(self) -> None:
        self.opened = self._pool.submit(self._path.open, self._mode)
        wait_for(lambda: not is_held(self._descriptor))


def test_a_program_that_opens_the_file_meanwhile_reads_it(tmp_path: Path) -> None:
    plain = written_movie(tmp_path / "X.mrc")
    data = plain.read_bytes()
    ready = draft_of(plain, tmp_path)
    with Opening(ready, "rb") as users:
        assert publish(ready, users) is Ended.REMOVED
    assert users.opened is not None
    with users.opened.result() as file:
        assert file.read() == data
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc.tif"]


def test_a_program_that_opens_the_file_for_writing_meanwhile_keeps_it(tmp_path: Path) -> None:
    plain = written_movie(tmp_path / "X.mrc")
    data = plain.read_bytes()
    ready = draft_of(plain, tmp_path)
    with Opening(ready, "r+b") as users:
        assert publish(ready, users) is Ended.PUT_BACK
    assert users.opened is not None
    with users.opened.result() as file:
        file.seek(0, os.SEEK_END)
        file.write(b"more")
    assert [path.name for path in tmp_path.iterdir()] == ["X.mrc"]
    assert plain.read_bytes() == data + b"more"


def test_a_file_that_was_removed_is_retried(tmp_path: Path) -> None:
    """Another movie may have the name by then."""
    with pytest.raises(ChangedError, match=r"X\.mrc: removed or renamed"):
        MakeDrafts(tmp_path, DraftOptions())(tmp_path / "X.mrc", lambda _: None)
