"""Change times of open files, kept constant while a file is open, as programs that copy files expect.

tar reports "file changed as we read it" if the change time differs. Linking, renaming or changing the mode of the
stored file also updates the change time, although the content stays the same. The change time at the first opening is
therefore shown until the last reader closes the file. The kernel caches one set of attributes per name, so requests by
name return the same change time and inode number.

Threads: not thread-safe; the file system holds its lock during each call.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from cryofs.vfs.attributes import Attributes
from cryofs.vfs.nodes import Node

# Device and inode of the stored file, size and mtime as shown; a difference means different content.
_Content = tuple[int, int, int, int]


@dataclass
class _AtOpen:
    """Name and content of an open file, its attributes at the first opening, and the number of its readers."""

    name: str
    content: _Content
    attributes: Attributes
    is_made: bool
    readers: int = 0


class ChangeTimes:
    """Table of the change times of open files, by handle and by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[_Content, _AtOpen]] = {}
        self._by_handle: dict[int, _AtOpen] = {}

    def opened(self, handle: int, name: str, node: Node, found: Attributes) -> None:
        """Record that a reader opened the file of `node`, and its attributes at opening."""
        content = _content(node, found)
        at_open = _AtOpen(name, content, found, is_made=not node.is_plain)
        at_open = self._by_name.setdefault(name, {}).setdefault(content, at_open)
        at_open.readers += 1
        self._by_handle[handle] = at_open

    def closed(self, handle: int) -> None:
        """Record that a reader closed the file of a handle."""
        at_open = self._by_handle.pop(handle)
        at_open.readers -= 1
        if not at_open.readers:
            states = self._by_name[at_open.name]
            del states[at_open.content]
            if not states:
                del self._by_name[at_open.name]

    def of_open(self, handle: int, now: Attributes) -> Attributes:
        """Return the attributes to report for an open file whose current attributes are `now`."""
        at_open = self._by_handle[handle]
        return _settled(at_open, now) if at_open.content[2:] == (now.size, now.mtime_ns) else now

    def by_name(self, name: str, node: Node) -> Attributes:
        """Return the attributes to report for a name, consistent with those of the open file."""
        now = node.attributes
        if not (states := self._by_name.get(name)):
            return now
        at_open = states.get(_content(node, now))
        return _settled(at_open, now) if at_open else now


def _content(node: Node, found: Attributes) -> _Content:
    device, inode = (node.stored.st_dev, node.stored.st_ino) if node.stored else (0, found.inode)
    return device, inode, found.size, found.mtime_ns


def _settled(at_open: _AtOpen, now: Attributes) -> Attributes:
    """Return the current attributes with the change time, and for movies the inode number, of the first opening.

    If only the change time of a plain file differs, the file may have been overwritten and its old mtime restored, so
    the new change time is returned. Movies are checked when they are read.
    """
    then = at_open.attributes
    if at_open.is_made:
        return replace(now, ctime_ns=then.ctime_ns, inode=then.inode)
    return replace(now, ctime_ns=then.ctime_ns) if _besides(now) != _besides(then) else now


def _besides(found: Attributes) -> tuple[int, int, int, int]:
    """Return the attributes that can change, and update the change time, without a change of content."""
    return found.links, found.mode, found.uid, found.gid
