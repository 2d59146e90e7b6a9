"""Lock an archive, so that two commands do not change it in ways that exclude each other.

A lock is the folder `.cryofs-lock` at the root of an archive, with a file for each holder. A holder keeps its file
locked (flock) as long as it lives. On the machine on which a holder was started, that decides whether it lives; its
process number does not, because numbers are used again. A holder on another machine counts until the user breaks its
lock, because on some file systems locks are local to a machine. Holders of archives above and below count too.

A holder makes its file first and looks for others then, so of two that begin at the same time at least one is refused.
"""

import contextlib
import errno
import fcntl
import functools
import io
import os
import secrets
import shlex
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from cryofs.errors import ArchiveError
from cryofs.storage import changes
from cryofs.storage.atomic_file import OWN_PREFIX, naming

LOCK_NAME = OWN_PREFIX + "lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
# ENOLCK: NFS without a lock service.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
# A holder's file before it is locked and complete.
_NEW = "."


class Activity(StrEnum):
    """What a holder does, as named in messages."""

    MOUNT = "writable mount"
    INGEST = "cryofs ingest"
    COMPRESS = "cryofs compress"
    WORKER = "worker process of cryofs compress"
    ADOPT = "cryofs adopt"
    RECOMPRESS = "cryofs recompress"

    @property
    def is_exclusive(self) -> bool:
        """True if no other holder may exist at the same time."""
        return self in (Activity.MOUNT, Activity.INGEST)


class Holder(msgspec.Struct, frozen=True):
    """A holder, as written in its file; `since` in seconds since 1970."""

    host: str
    machine: str
    boot: str
    process: int
    activity: str
    is_exclusive: bool
    since: float
    command: str = ""

    @property
    def text(self) -> str:
        """The holder, for messages."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.since))
        return f"{self.activity} (process {self.process} on {self.host}, since {since} UTC)"


@dataclass(frozen=True)
class _Found:
    path: Path
    holder: Holder | None


class ArchiveLock:
    """The lock of an archive, held until `release`; also a context manager. Processes that are forked hold it too.

    Parameters
    ----------
    archive : Path
        Root of the archive, an existing folder.
    break_lock : bool
        Whether holders on other machines do not count; their files are removed.

    Attributes
    ----------
    is_alone : bool
        Whether there was no other holder when the lock was taken.

    Raises
    ------
    ArchiveError
        Another holder excludes this one, or is excluded by it.
    """

    def __init__(self, archive: Path, activity: Activity, *, break_lock: bool = False):
        self._archive = archive.absolute()
        self._path, self._file = _make(self._archive, _this_process(activity))
        try:
            self.is_alone = self._check(activity, break_lock=break_lock)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock; another holder may take it."""
        if self._file.closed:
            return
        with self._file:
            changes.disk.remove(self._path, missing_ok=True)
        _remove_folder(self._path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _check(self, activity: Activity, *, break_lock: bool) -> bool:
        others = [found for found in _around(self._archive) if found.path != self._path]
        living = [found for found in others if not _is_over(found, break_lock=break_lock)]
        for found in living:
            holder = found.holder
            if holder is None or holder.is_exclusive or activity.is_exclusive:
                raise ArchiveError(_refusal(self._archive, found))
        return not living


def holders(archive: Path) -> list[Holder]:
    """Return the holders of the lock of an archive, and of archives above it, that count."""
    living = (found for found in _beside_and_above(archive.absolute()) if _lives(found))
    return [found.holder for found in living if found.holder is not None]


def is_of_this_boot(holder: Holder) -> bool:
    """Return True if a holder was started on this machine, since its last start."""
    return holder.boot == _boot_id()


def _refusal(archive: Path, found: _Found) -> str:
    place = found.path.parent.parent
    if found.holder is None:
        return f"{found.path}: not a valid lock; remove this file if no cryofs command uses {place}"
    text = f"{archive}: in use by {found.holder.text}"
    if place != archive:
        text += f", which works on {place}"
    if is_of_this_boot(found.holder):
        return f"{text}; wait until it ends, or stop it"
    return f"{text}; wait until it ends, or pass --break-lock if it no longer runs"


def _this_process(activity: Activity) -> Holder:
    command = shlex.join(sys.argv)[:1000].encode(errors="replace").decode()
    return Holder(
        socket.gethostname(),
        _machine_id(),
        _boot_id(),
        os.getpid(),
        activity.value,
        activity.is_exclusive,
        time.time(),
        command,
    )


def _boot_id() -> str:
    return _read_id(_BOOT_ID)


def _machine_id() -> str:
    return _read_id(_MACHINE_ID)


@functools.cache
def _read_id(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _make(archive: Path, holder: Holder) -> tuple[Path, io.BufferedRandom]:
    """Return the locked file of a new holder."""
    folder = archive / LOCK_NAME
    while True:
        _make_folder(archive, folder)
        name = secrets.token_hex(8)
        draft = folder / (_NEW + name)
        try:
            file = changes.disk.create(draft)
        except FileNotFoundError:
            continue  # the last holder has just removed the folder
        except OSError:
            _remove_folder(folder)
            raise
        try:
            with naming(draft):
                _lock(file)
                file.write(msgspec.json.encode(holder))
                file.flush()
            changes.disk.set_mode(file.fileno(), 0o644)
            changes.disk.move(draft, folder / name)
        except (FileNotFoundError, BlockingIOError):
            file.close()
            continue  # taken for the draft of a killed holder, and removed
        except BaseException:
            # what is left to write would fail again
            file.raw.close()
            changes.disk.remove(draft, missing_ok=True)
            _remove_folder(folder)
            raise
        return folder / name, file


def _make_folder(archive: Path, folder: Path) -> None:
    try:
        changes.disk.make_folder(folder)
    except FileExistsError:
        if folder.is_symlink() or not folder.is_dir():
            raise ArchiveError(f"{folder}: not a folder; remove it") from None
    except OSError as error:
        # a process without this right cannot change the archive
        raise OSError(error.errno, os.strerror(error.errno or 0), str(archive)) from error
    else:
        # every user who may change the archive may lock it
        with contextlib.suppress(OSError):
            changes.disk.set_mode(folder, stat.S_IMODE(archive.stat().st_mode) | stat.S_IRWXU)


def _lock(file: io.BufferedIOBase) -> None:
    """Lock the file of this process; on a file system without locks its holder counts until its file is removed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _around(archive: Path) -> Iterator[_Found]:
    """Yield the holders of an archive, and of archives above and below."""
    yield from _beside_and_above(archive)
    for place, names, _ in os.walk(archive):
        if LOCK_NAME in names and Path(place) != archive:
            yield from _in_folder(Path(place) / LOCK_NAME)
        names[:] = [name for name in names if not name.startswith(OWN_PREFIX)]


def _beside_and_above(archive: Path) -> Iterator[_Found]:
    for place in dict.fromkeys((archive, *archive.parents, *Path(os.path.realpath(archive)).parents)):
        yield from _in_folder(place / LOCK_NAME)


def _in_folder(folder: Path) -> Iterator[_Found]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        if name.startswith(_NEW):
            _remove_stale(folder / name)
            continue
        try:
            data = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        try:
            yield _Found(folder / name, msgspec.json.decode(data, type=Holder))
        except msgspec.MsgspecError:
            yield _Found(folder / name, None)


def _is_over(found: _Found, *, break_lock: bool) -> bool:
    """Return True if a holder no longer counts, and remove its file."""
    is_elsewhere = found.holder is not None and not is_of_this_boot(found.holder)
    if _lives(found) and not (break_lock and is_elsewhere):
        return False
    # others remove it as well, or the archive above belongs to another user
    with contextlib.suppress(OSError):
        changes.disk.remove(found.path, missing_ok=True)
        _remove_folder(found.path.parent)
    return True


def _lives(found: _Found) -> bool:
    holder = found.holder
    if holder is None:
        return found.path.exists()
    if not is_of_this_boot(holder):
        # this machine has been started again since
        same_machine = (holder.host, holder.machine) == (socket.gethostname(), _machine_id())
        return not (same_machine and holder.machine)
    try:
        with found.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _remove_stale(draft: Path) -> None:
    """Remove the draft of a holder that was killed; a living holder makes another one."""
    with contextlib.suppress(OSError), draft.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        changes.disk.remove(draft, missing_ok=True)


def _remove_folder(folder: Path) -> None:
    """Remove the folder of a lock unless it has other holders."""
    with contextlib.suppress(OSError):
        changes.disk.remove_folder(folder)
