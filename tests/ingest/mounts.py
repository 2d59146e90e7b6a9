"""A writable file system without FUSE, and kills of it at any call that changes the storage."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cryofs.archive.recovery import recover
from cryofs.config.settings import Settings
from cryofs.errors import CryofsError
from cryofs.ingest.draft import DraftOptions, MakeDrafts
from cryofs.ingest.mounting import archived_movies
from cryofs.ingest.publish import publish
from cryofs.storage import changes
from cryofs.storage.atomic_file import DRAFT_PREFIX
from cryofs.storage.changes import Disk
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.storage.file_lock import LOCK_SUFFIX
from cryofs.vfs.callers import Caller
from cryofs.vfs.writable import WritableFileSystem
from tests.vfs.serving import content, started


@contextlib.contextmanager
def writable(folder: Path, **choices: Any) -> Iterator[WritableFileSystem]:
    """A writable file system that changes archived movies."""
    settings = Settings(jobs=2, ingest_jobs=1, **choices)
    with started(WritableFileSystem(folder, settings, None, archived_movies(settings))) as files:
        assert isinstance(files, WritableFileSystem)
        yield files


CALLER = Caller(os.geteuid(), os.getegid())
Change = Callable[[WritableFileSystem], object]


def archive_now(files: WritableFileSystem, name: str) -> None:
    """Make an archived movie of a plain one at the root, as the ingester of a mount does, in this thread."""
    parts = files.attribute_changes._parts
    place = parts.root.path / name
    made = MakeDrafts(parts.root.path, DraftOptions(least_saving=-1))(place, lambda _: None)
    with parts.names.changing(place), parts.users(place, made.state, made.draft, made.target) as users:
        publish(made, users)


class KilledError(BaseException):
    """The process would be gone."""


class Killing(Disk):
    """A disk that makes some calls and then no more."""

    def __init__(self, calls: int):
        self.left = calls

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not callable(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            if self.left <= 0:
                raise KilledError(name)
            self.left -= 1
            return found(*args, **named)

        return call


def shown(folder: Path) -> dict[str, bytes | str]:
    """What a writable mount shows of all files; an error by its text."""
    found: dict[str, bytes | str] = {}
    with writable(folder, settle=1000) as files:
        names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for name in sorted({name.with_name(name.name.removesuffix(".tif")) for name in names}):
            if not name.name.startswith(".cryofs"):
                try:
                    found[str(name)] = content(files, f"/{name}")
                except (CryofsError, OSError) as error:
                    found[str(name)] = f"{type(error).__name__}: {error}"
    return found


def after_kills(make: Callable[[], Path], change: Change) -> Iterator[tuple[int, dict[str, bytes | str]]]:
    """Yield what an archive shows after a kill before each call of a change and a recovery; at last, without a kill.

    Parameters
    ----------
    make : callable
        Returns a new archive.
    """
    calls, is_killed = 0, True
    while is_killed:
        folder = make()
        with writable(folder, settle=1000) as files, pytest.MonkeyPatch.context() as patch:
            patch.setattr(changes, "disk", Killing(calls))
            try:
                change(files)
                is_killed = False
            except KilledError:
                pass
        shown_before = shown(folder)
        for _ in range(2):
            recover(folder, lambda text: pytest.fail(text))
        found = shown(folder)
        assert found == shown_before, "a recovery changed what is shown"
        # an empty list is as good as none; drafts and locks of this process stay, because it lives
        own = [path.name for path in folder.rglob(".cryofs-*") if path.stat().st_size and path.name != LIST_NAME]
        assert not [name for name in own if not (name.startswith(DRAFT_PREFIX) or name.endswith(LOCK_SUFFIX))], own
        yield calls, found
        calls += 1
        assert calls < 500
