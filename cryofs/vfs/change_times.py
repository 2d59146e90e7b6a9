"""Change times of open files: they stay as they were while a file is read, as programs that copy files expect.

tar reports "file changed as we read it" when the change time moves. But it also moves when somebody links, renames or
chmods the file in the archive, which changes no byte. So the time that the first reader got counts until the last one
has closed the file. The kernel keeps one set of attributes for a name, so it counts for requests by name as well.

Threads: not locked; the file system calls it under its lock.
"""

from dataclasses import dataclass, replace

from cryofs.vfs.attributes import Attributes

# inode, size and time: a file that differs in them has other content
_Content = tuple[int, int, int]


@dataclass
class _AtOpen:
    """What the first reader got, and how many there are."""

    attributes: Attributes
    is_made: bool
    readers: int = 0


class ChangeTimes:
    """Change times of open files, by name and content."""

    def __init__(self) -> None:
        self._open: dict[str, dict[_Content, _AtOpen]] = {}

    def opened(self, name: str, found: Attributes, *, is_made: bool) -> None:
        """Note that a reader opened a file; `is_made` if it is made of a file of the archive."""
        states = self._open.setdefault(name, {})
        states.setdefault(_content(found), _AtOpen(found, is_made)).readers += 1

    def closed(self, name: str, found: Attributes) -> None:
        """Note that a reader closed the file that it opened with these attributes."""
        states = self._open[name]
        at_open = states[_content(found)]
        at_open.readers -= 1
        if not at_open.readers:
            del states[_content(found)]
        if not states:
            del self._open[name]

    def shown(self, name: str, now: Attributes) -> Attributes:
        """Return attributes with the change time that readers of the file got.

        A plain file whose change time alone moved may have been overwritten and got its old time back, so this is
        shown. What is made of a file is checked when it is read.
        """
        at_open = self._open.get(name, {}).get(_content(now))
        if at_open is None or not (at_open.is_made or _besides(now) != _besides(at_open.attributes)):
            return now
        return replace(now, ctime_ns=at_open.attributes.ctime_ns)


def _content(found: Attributes) -> _Content:
    return found.inode, found.size, found.mtime_ns


def _besides(found: Attributes) -> tuple[int, int, int, int]:
    """What else moves the change time."""
    return found.links, found.mode, found.uid, found.gid
