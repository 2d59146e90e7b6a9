"""What readers see of a name of which a plain file and an archived movie exist."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from cryofs.errors import DamagedError
from cryofs.storage.atomic_file import draft
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.journal import JOURNAL_NAME
from cryofs.storage.steps import replace_twin
from cryofs.vfs.archive_root import Root
from cryofs.vfs.file_system import FileSystem
from tests.support import entries
from tests.twins import NoUsers, add, alter, make_twins
from tests.vfs.serving import content, names, serving

ORIGINAL, ALTERED = "original", "altered"


def shown(folder: Path) -> bytes | str:
    """What reading X.mrc returns, or the error; the name is listed in any case."""
    with serving(folder) as files:
        assert names(files, "/") == ["X.mrc"]
        try:
            return content(files, "/X.mrc")
        except DamagedError as error:
            assert not entries(files, "/")[0].is_complete
            return str(error)


def test_without_a_line_an_equal_size_and_time_suffice(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    mtime = plain.stat().st_mtime_ns
    data = plain.read_bytes()
    plain.write_bytes(bytes(len(data)))
    os.utime(plain, ns=(0, mtime))
    assert shown(archived.parent) == data


def test_without_a_line_a_file_that_differs_is_an_error(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    alter(plain)
    assert "X.mrc: differs from the original of X.mrc.tif" in shown(archived.parent)


def test_the_journal_says_that_the_plain_file_counts(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    alter(plain)
    add("thaw", plain, archived)
    assert shown(plain.parent) == plain.read_bytes()


def test_the_journal_says_that_the_archived_movie_counts(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    data = plain.read_bytes()
    alter(plain)
    add("replace", archived, plain)
    assert shown(plain.parent) == data


@pytest.mark.parametrize("change", ["plain", "archived", "line"])
def test_a_line_that_does_not_match_is_ignored(tmp_path: Path, change: str) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    alter(plain)
    add("thaw", plain, archived)
    if change == "line":
        journal = plain.with_name(JOURNAL_NAME)
        journal.write_bytes(journal.read_bytes().replace(b"thaw", b"that"))
    else:
        path = plain if change == "plain" else archived
        shutil.copy2(path, path.with_name("other"))
        path.with_name("other").replace(path)
    assert "differs from the original" in shown(plain.parent)


class Switching:
    """A thread that makes an archived movie of a plain one, and a plain one of that, again and again."""

    def __init__(self, plain: Path, archived: Path):
        self._forms = {True: (plain, plain.read_bytes(), plain.stat()), False: (archived, archived.read_bytes(), None)}
        plain.unlink()
        self._over = threading.Event()
        self.switches = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Switching":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        is_plain = False
        while not self._over.is_set():
            other = self._forms[is_plain][0]
            target, data, found = self._forms[not is_plain]
            with draft(target) as made:
                made.write(data)
                made.file.flush()
                if found is not None:
                    os.utime(made.path, ns=(found.st_atime_ns, found.st_mtime_ns))
                replace_twin("ingest" if is_plain else "thaw", made.path, target, other, NoUsers())
            is_plain = not is_plain
            self.switches += 1


def read_all(files: FileSystem, data: bytes) -> None:
    assert content(files, "/X.mrc") == data
    assert names(files, "/") == ["X.mrc"]


def test_a_movie_that_becomes_plain_before_its_record_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    data, opened = plain.read_bytes(), Root.open
    plain.unlink()

    def open_late(root: Root, place: Path) -> LocalFile:
        if place.name == archived.name and archived.exists():
            plain.write_bytes(data)
            archived.unlink()
        return opened(root, place)

    with serving(plain.parent) as files:
        monkeypatch.setattr(Root, "open", open_late)
        assert content(files, "/X.mrc") == data


def test_readers_see_the_same_bytes_at_any_moment(tmp_path: Path) -> None:
    plain, archived = make_twins(tmp_path / "archive")
    data = plain.read_bytes()
    with serving(plain.parent) as files, Switching(plain, archived) as switching:
        reads = 0
        while switching.switches < 100:
            read_all(files, data)
            reads += 1
    assert reads > 20
