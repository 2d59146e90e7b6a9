"""The users of a file, as a writable mount knows them: `cryofs.storage.steps.Users` for steps inside a mount."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cryofs.errors import ChangedError, CryofsError
from cryofs.storage.file_state import FileState, state_of
from cryofs.storage.steps import Use, Users
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.live_files import LiveFiles
from cryofs.vfs.namespace import Tree
from cryofs.vfs.nodes import Node
from cryofs.vfs.open_files import OpenFile
from cryofs.vfs.opening import Opener


@contextlib.contextmanager
def users_of_step(
    tree: Tree,
    live: LiveFiles,
    opener: Opener,
    place: Path,
    state: FileState | None,
    draft: Path | None = None,
    target: Path | None = None,
) -> Iterator[Users]:
    """Yield the users of a file during a step; see `cryofs.vfs.changing.UsersOfStep`."""

    def node() -> Node:
        if (found := tree.node(place, tree.main)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place.name)
        return found

    def open_it() -> tuple[OpenFile, Attributes]:
        found = node()
        return opener.open(found, must_be_found=False), found.attributes

    if draft is None or target is None:
        yield MountUsers(live, place, state, open_it, lambda: None)
        return
    new = tree.entries.own_inode(place, target, draft.lstat())
    with tree.inodes.replacing(node().attributes.inode, new) as done:
        try:
            yield MountUsers(live, place, state, open_it, done)
        finally:
            # a call that fails later leaves the new file with the name
            with contextlib.suppress(CryofsError, OSError):
                if node().attributes.inode == new:
                    done()


class MountUsers:
    """Users of the file of a name, which the caller has locked.

    Parameters
    ----------
    state : FileState or None
        State in which the file was read; None if its bytes never change.
    open_it : callable
        Opens the file that has the name now, and returns it with its attributes.
    on_switch : callable
        Called once the new file has the name.
    """

    # only the mount may change the archive
    knows_all = True

    def __init__(
        self,
        live: LiveFiles,
        place: Path,
        state: FileState | None,
        open_it: Callable[[], tuple[OpenFile, Attributes]],
        on_switch: Callable[[], None],
    ):
        self._live = live
        self._place = place
        self._state = state
        self._open_it = open_it
        self._on_switch = on_switch

    def check(self) -> None:
        """Raise ChangedError if the file changed, was replaced, or a program has it open for writing."""
        if self._live.has_writer(self._place):
            raise ChangedError(f"{self._place.name}: open for writing; retry once it is closed")
        if self._state is not None and state_of(self._place.lstat()) != self._state:
            raise ChangedError(f"{self._place.name}: changed or replaced since it was read; retry later")

    def switch(self) -> None:
        """Let open handles read from the file that has the name now."""
        self._on_switch()
        if live := self._live.find(self._place):
            live.switch(*self._open_it())

    def use(self) -> Use:
        """Return that no program has the file open, because open handles read from the other one."""
        return Use.FREE
