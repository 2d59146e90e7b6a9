"""Making a mount, and serving it in this process until it is unmounted."""

import contextlib
import ctypes
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from cryofs.config.mount_options import MountOptions, escaped, fuse_options
from cryofs.config.settings import Settings
from cryofs.errors import MountError
from cryofs.fuse.control import FILE_SYSTEM_TYPE, device_number
from cryofs.system.sd_notify import tell
from cryofs.vfs.attributes import Ownership
from cryofs.vfs.file_system import FileSystem

# what libfuse's main function returns when a signal ended its loop
_ENDED_BY_SIGNAL = 8
_MAX_THREADS = 256
# from malloc.h
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8

log = logging.getLogger("cryofs")


def serve(
    archive: Path, mountpoint: Path, settings: Settings, options: MountOptions, on_live: Callable[[], None]
) -> None:
    """Mount, and serve until unmounted.

    Parameters
    ----------
    options : MountOptions
        What stands behind ``-o`` besides settings.
    on_live : callable
        Called once when the mount is live.

    Raises
    ------
    MountError
        The mount cannot be made, or figures cannot be served where they should be.
    """
    # loads libfuse, so only where it is needed
    from cryofs.fuse.libfuse import mfusepy
    from cryofs.fuse.operations import Operations

    was_live = False

    def live() -> None:
        nonlocal was_live
        was_live = True
        _set_readahead(mountpoint, settings.readahead)
        tell("READY=1", f"STATUS=Shows {archive} at {mountpoint}")
        on_live()

    def end() -> None:
        tell("STOPPING=1", "STATUS=Unmounted; what was begun is being finished")

    _give_memory_back()
    files = FileSystem(archive, settings, Ownership(options.uid, options.gid, options.umask))
    if settings.metrics is not None:
        from cryofs.fuse.metrics import serve_metrics

        serve_metrics(settings.metrics, files.facts)
    _look_again_on_hangup(files)
    try:
        mfusepy.FUSE(
            Operations(files, settings.readahead, live, end),
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


def _mount_options(archive: Path, options: MountOptions) -> dict[str, str | bool]:
    return {
        "fsname": escaped(options.fsname or str(archive.absolute())),
        "subtype": FILE_SYSTEM_TYPE.partition(".")[2],
        "ro": True,
        # with allow_other, permissions must be checked for each user by the kernel
        "default_permissions": True,
        # what an archive holds must not make anybody root
        "nosuid": True,
        "nodev": True,
        # libfuse complains of its own default, which means as much
        "max_idle_threads": str(_MAX_THREADS),
        **fuse_options(options),
    }


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
