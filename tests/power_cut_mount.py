"""Storage below a writable mount that loses its power: `tests.power_cut`, for the calls on open folders and files."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofs.storage import changes
from cryofs.system.renaming import EXCHANGE
from tests.power_cut import Contents, Folder, Recorder, Replay


class MountRecorder(Recorder):
    """Logs also what a mount does; files that existed before are not written.

    Attributes
    ----------
    promises : list
        The number of steps after which a file must hold some bytes, with the name and those that it may hold then.
    """

    def __init__(self, root: Path):
        super().__init__(root)
        self.promises: list[tuple[int, str, bytes]] = []

    def promise(self, name: str, data: bytes) -> None:
        """Note that a file survives a power cut from now on, with these bytes or later ones."""
        self.promises.append((len(self.steps), name, data))

    def create_in(self, folder: int, name: str, mode: int) -> int:
        made = super().create_in(folder, name, mode)
        if (path := self._in(folder, name)) is not None:
            key, found = f"{len(self.steps)} {path}", os.fstat(made)
            self._files[found.st_dev, found.st_ino] = key
            self._log(f"create {path}", lambda replay: replay.create(path, key, found.st_ino))
        return made

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        count = super().write(descriptor, data, offset)
        if (key := self._key(descriptor)) is not None:
            written, mtime = bytes(data[:count]), os.fstat(descriptor).st_mtime_ns
            self._log("write", lambda replay: replay.write(key, offset, written, mtime))
        return count

    def set_size(self, descriptor: int, size: int) -> None:
        super().set_size(descriptor, size)
        if (key := self._key(descriptor)) is not None:
            self._log("set_size", lambda replay: replay.truncate(key, size))

    def remove_in(self, folder: int, name: str) -> None:
        super().remove_in(folder, name)
        if (path := self._in(folder, name)) is not None:
            self._log(f"remove {path}", lambda replay: replay.take(path))

    def make_folder_in(self, folder: int, name: str, mode: int) -> None:
        super().make_folder_in(folder, name, mode)
        if (path := self._in(folder, name)) is not None:
            self._log(f"make_folder {path}", lambda replay: replay.put(path, Folder()))

    def move_in(self, folder: int, name: str, target_folder: int, target: str, flags: int) -> None:
        super().move_in(folder, name, target_folder, target, flags)
        old, new = self._in(folder, name), self._in(target_folder, target)
        if old is None or new is None:
            return
        if flags == EXCHANGE:
            self._log(f"exchange {old} {new}", lambda replay: _exchange(replay, old, new))
        else:
            self._log(f"move {old} {new}", lambda replay: replay.move(old, new))

    def _in(self, folder: int, name: str) -> str | None:
        return self._below(Path(f"/proc/self/fd/{folder}") / name)

    def _key(self, descriptor: int) -> str | None:
        found = os.fstat(descriptor)
        return self._files.get((found.st_dev, found.st_ino))


def _exchange(replay: Replay, one: str, other: str) -> None:
    first = replay.take(one)
    replay.move(other, one)
    replay.put(other, first)


@contextlib.contextmanager
def mount_recorded(root: Path) -> Iterator[MountRecorder]:
    """Record all changes below the folder of a mount."""
    recorder = MountRecorder(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "disk", recorder)
        yield recorder


def cuts(recorder: Recorder) -> Iterator[tuple[int, Contents]]:
    """The number of steps before each power cut, and what it may leave: all names and bytes, or the synced ones."""
    replay = Replay(recorder.before)
    for number in range(len(recorder.steps) + 1):
        for names, data in ((True, True), (True, False), (False, False)):
            yield number, replay.contents(names=names, data=data)
        if number < len(recorder.steps):
            recorder.steps[number][1](replay)
