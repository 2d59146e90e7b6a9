"""Change times of open files: constant while a file is open, as programs that copy files expect.

tar reports "file changed as we read it" when the change time moves. It also moves when the file in the archive is
linked, renamed or gets another mode, which changes no byte. So the change time that the first reader got is shown until
the last reader has closed the file. The kernel keeps one set of attributes for a name, so requests by name get the same
time, and the same inode number.

Threads: not locked; the file system calls it under its lock.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from cryofs.vfs.attributes import Attributes
from cryofs.vfs.nodes import Node

# device and inode of the stored file, then size and time as shown: a file that differs in them has other content
_Content = tuple[int, int, int, int]


@dataclass
class _AtOpen:
    """An open file: its name and content, the attributes that the first reader got, and the number of readers."""

    name: str
    content: _Content
    attributes: Attributes
    is_made: bool
    readers: int = 0


class ChangeTimes:
    """Change times of open files, by handle and by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[_Content, _AtOpen]] = {}
        self._by_handle: dict[int, _AtOpen] = {}

    def opened(self, handle: int, name: str, node: Node, found: Attributes) -> None:
        """Record that a reader opened the file behind a node, which was found with these attributes."""
        content = _content(node, found)
        at_open = _AtOpen(name, content, found, is_made=not node.is_plain)
        at_open = self._by_name.setdefault(name, {}).setdefault(content, at_open)
        at_open.readers += 1
        self._by_handle[handle] = at_open

    def closed(self, handle: int) -> None:
        """Record that a reader closed a file."""
        at_open = self._by_handle.pop(handle)
        at_open.readers -= 1
        if not at_open.readers:
            states = self._by_name[at_open.name]
            del states[at_open.content]
            if not states:
                del self._by_name[at_open.name]

    def of_open(self, handle: int, now: Attributes) -> Attributes:
        """Return the attributes that readers of an open file get."""
        at_open = self._by_handle[handle]
        return _settled(at_open, now) if at_open.content[2:] == (now.size, now.mtime_ns) else now

    def by_name(self, name: str, node: Node) -> Attributes:
        """Return the attributes of a name, consistent with those that readers of the open file get."""
        now = node.attributes
        if not (states := self._by_name.get(name)):
            return now
        at_open = states.get(_content(node, now))
        return _settled(at_open, now) if at_open else now


def _content(node: Node, found: Attributes) -> _Content:
    device, inode = (node.stored.st_dev, node.stored.st_ino) if node.stored else (0, found.inode)
    return device, inode, found.size, found.mtime_ns


def _settled(at_open: _AtOpen, now: Attributes) -> Attributes:
    """Return the current attributes, with the change time and inode number that the first reader got.

    A plain file of which only the change time moved may have been overwritten with its old mtime restored, so the
    change is shown. Movies are checked when they are read.
    """
    then = at_open.attributes
    if at_open.is_made:
        return replace(now, ctime_ns=then.ctime_ns, inode=then.inode)
    return replace(now, ctime_ns=then.ctime_ns) if _besides(now) != _besides(then) else now


def _besides(found: Attributes) -> tuple[int, int, int, int]:
    """Return the attributes whose changes update the change time but do not affect the content."""
    return found.links, found.mode, found.uid, found.gid
