"""Storage that loses its power: a log of all changes below a folder, and what is left of them after each.

`recorded` puts a recorder in the place of the disk. `states` replays its log, and gives what a reader may find after a
power cut at each moment, in three ways: all changes survive (as after a kill), all names but only synced bytes, or
only synced names and bytes.
"""

import contextlib
import copy
import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cryofs.storage import changes
from cryofs.storage.changes import Disk
from cryofs.storage.folder_lock import LOCK_NAME

Contents = dict[str, bytes | None]  # by path below the folder; None for a folder


@dataclass
class File:
    """A file: its bytes, those of them that were synced, and where a symbolic link leads."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    link: str | None = None


@dataclass
class Folder:
    """A folder: its names, and those that it had when it was synced last."""

    names: dict[str, "File | Folder"] = field(default_factory=dict)
    synced: dict[str, "File | Folder"] = field(default_factory=dict)


class _RecordedFile(io.FileIO):
    def __init__(self, path: Path, on_write: Callable[[int, bytes], None], on_truncate: Callable[[int], None]):
        super().__init__(path, "x+")
        self._on_write = on_write
        self._on_truncate = on_truncate

    def write(self, data: Any) -> int:
        offset = self.tell()
        count = super().write(data)
        self._on_write(offset, bytes(data[:count]))
        return count

    def truncate(self, size: int | None = None) -> int:
        size = super().truncate(size)
        self._on_truncate(size)
        return size


class Recorder(Disk):
    """Performs all changes, and logs those below a folder as steps that can be replayed."""

    def __init__(self, root: Path):
        self.root = root
        self.before = _snapshot(root) if root.is_dir() else None
        self.steps: list[tuple[str, Callable[[Replay], object]]] = []
        self._lock = threading.Lock()
        self._files: dict[tuple[int, int], str] = {}

    def _log(self, name: str, step: Callable[["Replay"], object]) -> None:
        with self._lock:
            self.steps.append((name, step))

    def _below(self, path: Path) -> str | None:
        path = path.absolute()
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else None

    def create(self, path: Path) -> io.BufferedRandom:
        name = self._below(path)
        if name is None:
            return super().create(path)
        key = f"{len(self.steps)} {name}"
        file = _RecordedFile(
            path,
            lambda offset, data: self._log("write", lambda replay: replay.write(key, offset, data)),
            lambda size: self._log("truncate", lambda replay: replay.truncate(key, size)),
        )
        found = os.fstat(file.fileno())
        self._files[found.st_dev, found.st_ino] = key
        self._log(f"create {name}", lambda replay: replay.create(name, key))
        return io.BufferedRandom(file)

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        found = os.fstat(descriptor)
        if (key := self._files.get((found.st_dev, found.st_ino))) is not None:
            self._log("sync", lambda replay: replay.sync(key))
        elif (name := self._below(Path(f"/proc/self/fd/{descriptor}").readlink())) is not None:
            self._log(f"sync {name}", lambda replay: replay.sync_folder(name))

    def move(self, path: Path, target: Path) -> None:
        super().move(path, target)
        if (old := self._below(path)) is not None and (new := self._below(target)) is not None:
            self._log(f"move {old} {new}", lambda replay: replay.move(old, new))

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


class Replay:
    """A folder in memory, changed by one step after the other."""

    def __init__(self, before: Folder | None):
        self._top = Folder()
        if before is not None:
            self._top.names["."] = self._top.synced["."] = copy.deepcopy(before)
        self._files: dict[str, File] = {}

    def _parent(self, name: str) -> tuple[Folder, str]:
        folder = self._top
        parts = [".", *Path(name).parts]
        for part in parts[:-1]:
            found = folder.names[part]
            assert isinstance(found, Folder)
            folder = found
        return folder, parts[-1]

    def put(self, name: str, made: File | Folder) -> None:
        folder, last = self._parent(name)
        folder.names[last] = made

    def take(self, name: str) -> File | Folder:
        folder, last = self._parent(name)
        return folder.names.pop(last)

    def create(self, name: str, key: str) -> None:
        self._files[key] = File()
        self.put(name, self._files[key])

    def write(self, key: str, offset: int, data: bytes) -> None:
        written = self._files[key].data
        written.extend(bytes(max(0, offset - len(written))))
        written[offset : offset + len(data)] = data

    def truncate(self, key: str, size: int) -> None:
        del self._files[key].data[size:]

    def sync(self, key: str) -> None:
        self._files[key].synced = bytes(self._files[key].data)

    def sync_folder(self, name: str) -> None:
        folder, last = self._parent(name)
        found = folder.names[last]
        if isinstance(found, Folder):
            found.synced = dict(found.names)

    def move(self, old: str, new: str) -> None:
        # renaming a file onto another of its names leaves both
        folder, last = self._parent(new)
        if folder.names.get(last) is not self._parent(old)[0].names[Path(old).name]:
            self.put(new, self.take(old))

    def link(self, old: str, new: str) -> None:
        self.put(new, self._parent(old)[0].names[Path(old).name])

    def contents(self, *, names: bool, data: bool) -> Contents:
        """What a reader finds: all names or the synced ones, all data or the synced ones."""
        found: Contents = {}

        def collect(folder: Folder, place: str) -> None:
            for name, entry in (folder.names if names else folder.synced).items():
                path = str(Path(place) / name)
                if isinstance(entry, Folder):
                    found[path] = None
                    collect(entry, path)
                elif entry.link is None:
                    found[path] = bytes(entry.data) if data else entry.synced

        # whether the folder itself has its name is not what is tested
        top = self._top.names.get(".")
        if isinstance(top, Folder):
            collect(top, "")
        return found


def _snapshot(root: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    for path in root.iterdir():
        if path.is_symlink():
            names[path.name] = File(link=str(path.readlink()))
        elif path.is_dir():
            names[path.name] = _snapshot(path)
        else:
            names[path.name] = File(bytearray(path.read_bytes()), path.read_bytes())
    return Folder(names, dict(names))


@contextlib.contextmanager
def recorded(root: Path) -> Iterator[Recorder]:
    """Record all changes below a folder."""
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "disk", recorder)
        yield recorder


def states(recorder: Recorder) -> Iterator[tuple[str, Contents]]:
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


def durable(recorder: Recorder) -> Contents:
    """What a power cut after the last step leaves at least."""
    replay = Replay(recorder.before)
    for _, step in recorder.steps:
        step(replay)
    found = replay.contents(names=False, data=False)
    # a lock is removed without a sync; the next run removes what is left of it
    return {name: data for name, data in found.items() if Path(name).name != LOCK_NAME}


def write_tree(contents: Contents, folder: Path) -> None:
    """Write a state into a new folder."""
    folder.mkdir()
    for name, data in sorted(contents.items()):
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)


def read_tree(folder: Path) -> Contents:
    """The state of a folder, without locks of runs that have ended."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink() and path.name != LOCK_NAME]
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in paths}
