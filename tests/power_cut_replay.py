"""A folder in memory that is changed step by step, and what of it survives a power cut (`tests.power_cut`)."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

Contents = dict[str, bytes | None]  # by path below the folder; None for a folder


class State(Contents):
    """Contents, with inode and mtime of each file as they were, by path."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: dict[str, tuple[int, int]] = {}


@dataclass
class File:
    """A file: its bytes, those of them that were synced, and where a symbolic link leads.

    `mtime` and `synced_mtime` in nanoseconds.
    """

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    link: str | None = None
    inode: int = 0
    mtime: int = 0
    synced_mtime: int = 0


@dataclass
class Folder:
    """A folder: its names, and those that it had when it was synced last."""

    names: dict[str, "File | Folder"] = field(default_factory=dict)
    synced: dict[str, "File | Folder"] = field(default_factory=dict)


class Replay:
    """A folder in memory, changed by one step after the other."""

    def __init__(self, before: Folder | None):
        self._top = Folder()
        self._files: dict[str, File] = {}
        if before is not None:
            root = copy.deepcopy(before)
            self._top.names["."] = self._top.synced["."] = root
            self._files |= files_in(root)

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

    def create(self, name: str, key: str, inode: int) -> None:
        self._files[key] = File(inode=inode)
        self.put(name, self._files[key])

    def write(self, key: str, offset: int, data: bytes, mtime: int) -> None:
        self._files[key].mtime = mtime
        written = self._files[key].data
        written.extend(bytes(max(0, offset - len(written))))
        written[offset : offset + len(data)] = data

    def truncate(self, key: str, size: int) -> None:
        data = self._files[key].data
        del data[size:]
        data.extend(bytes(size - len(data)))

    def sync(self, key: str) -> None:
        self._files[key].synced = bytes(self._files[key].data)
        self._files[key].synced_mtime = self._files[key].mtime

    def set_times(self, key: str, mtime: int) -> None:
        self._files[key].mtime = mtime

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

    def exchange(self, old: str, new: str) -> None:
        moved, other = self.take(old), self.take(new)
        self.put(new, moved)
        self.put(old, other)

    def link(self, old: str, new: str) -> None:
        self.put(new, self._parent(old)[0].names[Path(old).name])

    def contents(self, *, names: bool, data: bool) -> State:
        """What a reader finds: all names or the synced ones, all data or the synced ones."""
        found = State()

        def collect(folder: Folder, place: str) -> None:
            for name, entry in (folder.names if names else folder.synced).items():
                path = str(Path(place) / name)
                if isinstance(entry, Folder):
                    found[path] = None
                    collect(entry, path)
                elif entry.link is None:
                    found[path] = bytes(entry.data) if data else entry.synced
                    found.marks[path] = entry.inode, entry.mtime if data else entry.synced_mtime

        # whether the folder itself has its name is not what is tested
        top = self._top.names.get(".")
        if isinstance(top, Folder):
            collect(top, "")
        return found


def snapshot(root: Path) -> Folder:
    """Return a folder as it is, all of it durable."""
    names: dict[str, File | Folder] = {}
    for path in root.iterdir():
        if path.is_symlink():
            names[path.name] = File(link=str(path.readlink()))
        elif path.is_dir():
            names[path.name] = snapshot(path)
        else:
            found, data = path.stat(), path.read_bytes()
            names[path.name] = File(bytearray(data), data, None, found.st_ino, found.st_mtime_ns, found.st_mtime_ns)
    return Folder(names, dict(names))


def files_in(folder: Folder) -> dict[str, File]:
    """Files that were there before, by a key of their own."""
    found: dict[str, File] = {}
    for entry in folder.names.values():
        if isinstance(entry, Folder):
            found |= files_in(entry)
        elif entry.link is None:
            found[f"before {entry.inode}"] = entry
    return found
