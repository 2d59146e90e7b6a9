"""Making a mount: in this process until it is unmounted, or in a process of its own that outlives the command."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from cryofs.errors import MountError
from cryofs.fuse.control import device_number, is_mounted
from cryofs.settings import Settings
from cryofs.vfs.filesystem import FileSystem

# what libfuse's main function returns when a signal ended its loop
_ENDED_BY_SIGNAL = 8
_MAX_THREADS = 256
# from malloc.h
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
# mount options that would undo what protects archive and machine
_REFUSED = {"rw": "read-only", "suid": "nosuid", "dev": "nodev"}

log = logging.getLogger("cryofs")


def check_mountpoint(archive: Path, mountpoint: Path) -> None:
    """Check what can be checked before mounting.

    Raises
    ------
    MountError
        No archive, no mountpoint, something of ours mounted there already, or FUSE not usable.
    """
    if is_mounted(mountpoint):
        raise MountError(f"{mountpoint}: mounted already; cryofs umount {mountpoint} clears it")
    for path, what in ((archive, "archive"), (mountpoint, "mountpoint")):
        if path.exists() and not path.is_dir():
            raise MountError(f"{path}: a file, and the {what} has to be a folder; name one")
        if not path.is_dir():
            raise MountError(f"{path}: no such folder, it is to be the {what}; create it first")
    _check_places(archive.resolve(), mountpoint.resolve())
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise MountError("/dev/fuse: missing or not accessible; see cryofs doctor")


def _check_places(archive: Path, mountpoint: Path) -> None:
    """Refuse a mount that would wait for itself, or hide its own archive; only over the archive itself it may be."""
    if archive in mountpoint.parents:
        raise MountError(f"{mountpoint}: lies inside the archive {archive}, which it would show; mount elsewhere")
    if mountpoint in archive.parents:
        raise MountError(f"{mountpoint}: holds the archive {archive}, which it would hide; mount elsewhere")
    if any(mountpoint.iterdir()) and not any(archive.iterdir()):
        raise MountError(
            f"{archive}: empty, and the mountpoint {mountpoint} is not; the archive comes first: "
            f"cryofs mount {mountpoint} {archive}"
        )


def serve(archive: Path, mountpoint: Path, settings: Settings, options: str, on_live: Callable[[], None]) -> None:
    """Mount, and serve until unmounted.

    Parameters
    ----------
    options : str
        More mount options, as after ``-o``.
    on_live : callable
        Called once when the mount is live.

    Raises
    ------
    MountError
        The mount cannot be made, or figures cannot be served where they should be.
    """
    # loads libfuse, so only where it is needed
    from cryofs.fuse.binding import mfusepy
    from cryofs.fuse.operations import Operations

    was_live = False

    def live() -> None:
        nonlocal was_live
        was_live = True
        _set_readahead(mountpoint, settings.readahead)
        on_live()

    _give_memory_back()
    files = FileSystem(archive, settings)
    if settings.metrics is not None:
        from cryofs.fuse.metrics import serve_metrics

        serve_metrics(settings.metrics, files.facts)
    _look_again_on_hangup(files)
    try:
        mfusepy.FUSE(
            Operations(files, settings.readahead, live),
            str(mountpoint.absolute()),
            foreground=True,
            # what is opened comes as a structure, in which the kernel is told how to treat its pages
            raw_fi=True,
            **_mount_options(archive, options),
            **_threads(mfusepy.fuse_version_major, mfusepy.fuse_version_minor),
        )
    except RuntimeError as error:
        if was_live and error.args == (_ENDED_BY_SIGNAL,):
            return
        raise MountError(f"{mountpoint}: mounting failed (code {error} of libfuse); see cryofs doctor") from error


def serve_in_background(command: list[str], mountpoint: Path, log_file: Path) -> None:
    """Run a mount command in a process of its own; return when the mount is live.

    Parameters
    ----------
    command : list of str
        Arguments of cryofs that mount in the foreground; the number of a file descriptor is appended, into which the
        process writes a byte once the mount is live.

    Raises
    ------
    MountError
        The process ended before.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    ready, ready_writer = os.pipe()
    with log_file.open("ab") as output, os.fdopen(ready, "rb") as reader:
        start = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "cryofs", *command, str(ready_writer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[ready_writer],
            start_new_session=True,
            cwd="/",
        )
        os.close(ready_writer)
        if reader.read(1):
            return
    process.wait()
    said = log_file.read_bytes()[start:].decode(errors="replace").split("\n")
    reason = "; ".join(line.removeprefix("cryofs: ") for line in said if line)
    reason = reason or f"its process ended with code {process.returncode}"
    raise MountError(f"{mountpoint}: not mounted: {reason} (log: {log_file})")


def _give_memory_back() -> None:
    """Have the C library give memory back that many threads have used (mallopt(3)), where it is glibc.

    By itself it has a heap for each thread and keeps pieces of up to 32 MiB in them, between which nothing can go: a
    fifth of the cache in the long run.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, 2 << 20)


def _look_again_on_hangup(files: FileSystem) -> None:
    """Have SIGHUP make the file system look at its archive again; libfuse would end the mount.

    The main thread, where Python runs handlers, is inside libfuse until the mount ends; so a thread waits for the byte
    that the interpreter writes on every signal. In the foreground of a terminal it means that the terminal was closed,
    and ends the mount.
    """
    if os.isatty(0):
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def listen() -> None:
        while caught := os.read(reader, 64):
            if signal.SIGHUP in caught:
                files.look_again()

    threading.Thread(target=listen, name="hangup", daemon=True).start()


def _mount_options(archive: Path, options: str) -> dict[str, str | bool]:
    chosen: dict[str, str | bool] = {
        "fsname": str(archive.absolute()).replace(",", "_"),
        "subtype": "cryofs",
        "ro": True,
        # with allow_other, permissions must be checked for each user by the kernel
        "default_permissions": True,
        # what an archive holds must not make anybody root
        "nosuid": True,
        "nodev": True,
    }
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        if name in _REFUSED:
            raise MountError(f"-o {name}: mounts of cryofs are always {_REFUSED[name]}; leave this option out")
        chosen[name] = value if equals else True
    return chosen


def _threads(major: int, minor: int) -> dict[str, int]:
    """Option for threads of libfuse, which a request holds until it is answered; ten are soon taken by one stuck file.

    Before 3.12 libfuse starts as many as it needs, and does not know the option.
    """
    return {"max_threads": _MAX_THREADS} if (major, minor) >= (3, 12) else {}


def _set_readahead(mountpoint: Path, size: int) -> None:
    """Let the kernel read ahead further than its 128 KiB, where this process may say so (root).

    Called while the kernel waits for the answer to its INIT: it then takes the smaller of this and of what is answered.
    """
    device = device_number(mountpoint)
    try:
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(size >> 10))
    except OSError as error:
        log.info("read-ahead of the mount stays as the kernel has it (%s)", error.strerror)
