"""Storage that loses its power: a log of all changes below a folder, and what is left of them after each.

`recorded` puts a recorder in the place of the disk. `states` replays its log, and gives what a reader may find after a
power cut at each moment, in three ways: all changes survive (as after a kill), all names but only synced bytes, or
only synced names and bytes.
"""

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryofs.storage import changes
from cryofs.storage.archive_lock import LOCK_NAME
from cryofs.storage.changes import Disk
from cryofs.storage.file_lock import LOCK_SUFFIX
from cryofs.storage.journal import JOURNAL_NAME, FileMark, parse
from cryofs.system import renaming
from tests.power_cut_replay import Contents, File, Folder, Replay, State, files_in, snapshot


class _RecordedFile(io.FileIO):
    def __init__(self, path: Path, on_write: Callable[[int, bytes, int], None], on_truncate: Callable[[int], None]):
        super().__init__(path, "x+")
        self._on_write = on_write
        self._on_truncate = on_truncate

    def write(self, data: Any) -> int:
        offset = self.tell()
        count = super().write(data)
        self._on_write(offset, bytes(data[:count]), os.fstat(self.fileno()).st_mtime_ns)
        return count

    def truncate(self, size: int | None = None) -> int:
        size = super().truncate(size)
        self._on_truncate(size)
        return size


class Recorder(Disk):
    """Performs all changes, and logs those below a folder as steps that can be replayed."""

    def __init__(self, root: Path):
        self.root = root
        self.before = snapshot(root) if root.is_dir() else None
        self.steps: list[tuple[str, Callable[[Replay], object]]] = []
        self._lock = threading.Lock()
        self._files: dict[tuple[int, int], str] = {}
        if self.before is not None:
            device = root.stat().st_dev
            self._files |= {(device, file.inode): key for key, file in files_in(self.before).items()}

    def _log(self, name: str, step: Callable[["Replay"], object]) -> None:
        with self._lock:
            self.steps.append((name, step))

    def _below(self, path: Path) -> str | None:
        # a mount names files through the descriptor of the archive
        path = Path(os.path.realpath(path.parent)) / path.name
        # a lock holds no data, and nothing depends on what is left of it
        is_logged = path.is_relative_to(self.root) and not (LOCK_NAME in path.parts or path.name.endswith(LOCK_SUFFIX))
        return str(path.relative_to(self.root)) if is_logged else None

    def create(self, path: Path) -> io.BufferedRandom:
        name = self._below(path)
        if name is None:
            return super().create(path)
        key = f"{len(self.steps)} {name}"
        file = _RecordedFile(
            path,
            lambda offset, data, mtime: self._log("write", lambda replay: replay.write(key, offset, data, mtime)),
            lambda size: self._log("truncate", lambda replay: replay.truncate(key, size)),
        )
        found = os.fstat(file.fileno())
        self._files[found.st_dev, found.st_ino] = key
        self._log(f"create {name}", lambda replay: replay.create(name, key, found.st_ino))
        return io.BufferedRandom(file)

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        found = os.fstat(descriptor)
        if (key := self._files.get((found.st_dev, found.st_ino))) is not None:
            self._log("sync", lambda replay: replay.sync(key))
        elif (name := self._below(Path(f"/proc/self/fd/{descriptor}").readlink())) is not None:
            self._log(f"sync {name}", lambda replay: replay.sync_folder(name))

    def set_times(self, file: Path | int, atime_ns: int, mtime_ns: int) -> None:
        super().set_times(file, atime_ns, mtime_ns)
        found = os.stat(file)  # noqa: PTH116 - also of open files
        if (key := self._files.get((found.st_dev, found.st_ino))) is not None:
            self._log("set_times", lambda replay: replay.set_times(key, mtime_ns))

    def move(self, path: Path, target: Path) -> None:
        super().move(path, target)
        if (old := self._below(path)) is not None and (new := self._below(target)) is not None:
            self._log(f"move {old} {new}", lambda replay: replay.move(old, new))

    def move_new(self, path: Path, target: Path) -> None:
        super().move_new(path, target)
        if (old := self._below(path)) is not None and (new := self._below(target)) is not None:
            self._log(f"move_new {old} {new}", lambda replay: replay.move(old, new))

    def link(self, path: Path, target: Path) -> None:
        super().link(path, target)
        if (old := self._below(path)) is not None and (new := self._below(target)) is not None:
            self._log(f"link {old} {new}", lambda replay: replay.link(old, new))

    def link_to(self, text: Path, target: Path) -> None:
        super().link_to(text, target)
        if (name := self._below(target)) is not None:
            self._log(f"link_to {name}", lambda replay: replay.put(name, File(link=str(text))))

    def remove(self, path: Path, *, missing_ok: bool = False) -> None:
        existed = os.path.lexists(path)
        super().remove(path, missing_ok=missing_ok)
        if existed and (name := self._below(path)) is not None:
            self._log(f"remove {name}", lambda replay: replay.take(name))

    def make_folder(self, path: Path) -> None:
        super().make_folder(path)
        if (name := self._below(path)) is not None:
            self._log(f"make_folder {name}", lambda replay: replay.put(name, Folder()))

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        if (name := self._below(path)) is not None:
            self._log(f"remove_folder {name}", lambda replay: replay.take(name))

    def _in(self, folder: int, name: str) -> str | None:
        return self._below(Path(f"/proc/self/fd/{folder}") / name)

    def _key(self, descriptor: int) -> str | None:
        found = os.fstat(descriptor)
        return self._files.get((found.st_dev, found.st_ino))

    def create_in(self, folder: int, name: str, mode: int) -> int:
        descriptor = super().create_in(folder, name, mode)
        if (place := self._in(folder, name)) is not None:
            found, key = os.fstat(descriptor), f"{len(self.steps)} {place}"
            self._files[found.st_dev, found.st_ino] = key
            self._log(f"create {place}", lambda replay: replay.create(place, key, found.st_ino))
        return descriptor

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

    def make_folder_in(self, folder: int, name: str, mode: int) -> None:
        super().make_folder_in(folder, name, mode)
        if (place := self._in(folder, name)) is not None:
            self._log(f"make_folder {place}", lambda replay: replay.put(place, Folder()))

    def remove_in(self, folder: int, name: str) -> None:
        place = self._in(folder, name)
        super().remove_in(folder, name)
        if place is not None:
            self._log(f"remove {place}", lambda replay: replay.take(place))

    def move_in(self, folder: int, name: str, target_folder: int, target: str, flags: int) -> None:
        old, new = self._in(folder, name), self._in(target_folder, target)
        super().move_in(folder, name, target_folder, target, flags)
        if old is None or new is None:
            return
        if flags == renaming.EXCHANGE:
            self._log(f"exchange {old} {new}", lambda replay: replay.exchange(old, new))
        else:
            self._log(f"move {old} {new}", lambda replay: replay.move(old, new))


@contextlib.contextmanager
def recorded(root: Path) -> Iterator[Recorder]:
    """Record all changes below a folder."""
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "disk", recorder)
        yield recorder


def states(recorder: Recorder) -> Iterator[tuple[str, State]]:
    """Each different state that a power cut during the recorded changes may leave, with the moment that leaves it."""
    seen = set()
    replay = Replay(recorder.before)
    for number in range(len(recorder.steps) + 1):
        for names, data in ((True, True), (True, False), (False, False)):
            found = replay.contents(names=names, data=data)
            key = frozenset(found.items())
            if key not in seen:
                seen.add(key)
                after = recorder.steps[number - 1][0] if number else "nothing"
                yield f"step {number} ({after}), all names: {names}, all data: {data}", found
        if number < len(recorder.steps):
            recorder.steps[number][1](replay)


def durable(recorder: Recorder, steps: int | None = None) -> Contents:
    """What a power cut after some steps, by default all of them, leaves at least."""
    replay = Replay(recorder.before)
    for _, step in recorder.steps[:steps]:
        step(replay)
    return replay.contents(names=False, data=False)


def write_tree(contents: Contents, folder: Path) -> None:
    """Write a state into a new folder; its files have other inodes, so these are translated in journals."""
    folder.mkdir()
    marks = contents.marks if isinstance(contents, State) else {}
    for name, data in sorted(contents.items()):
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)
            if name in marks:
                os.utime(folder / name, ns=(0, marks[name][1]))
    for path in folder.rglob(JOURNAL_NAME):
        journal = parse(path.read_bytes())
        for number, line in enumerate(journal.lines):
            counts = _translated(line.counts, line.counts.name, path.parent, folder, marks)
            other = _translated(line.other, line.other.name, path.parent, folder, marks)
            if line.hidden is not None and other == line.other:
                other = _translated(line.other, line.hidden, path.parent, folder, marks)
            journal.lines[number] = msgspec.structs.replace(line, counts=counts, other=other)
        path.write_bytes(journal.encode())


def _translated(mark: FileMark, name: str, place: Path, folder: Path, marks: dict[str, tuple[int, int]]) -> FileMark:
    """The mark of a file with the inode that it has in the written state."""
    path = place / name
    inode, _ = marks.get(str(path.relative_to(folder)), (None, 0))
    return msgspec.structs.replace(mark, inode=path.stat().st_ino) if inode == mark.inode else mark


def read_tree(folder: Path) -> Contents:
    """The state of a folder."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in paths}
