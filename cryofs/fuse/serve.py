"""Mount an archive and serve it in this process until it is unmounted."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cryofs.config.mount_options import MountOptions, escaped, fuse_options
from cryofs.config.settings import Settings
from cryofs.errors import MountError
from cryofs.fuse.control import FILE_SYSTEM_TYPE, device_number
from cryofs.fuse.ending import end_process, ended_by_kernel, watch_connection
from cryofs.fuse.gain_warning import background_check
from cryofs.fuse.loading import Loading
from cryofs.fuse.locking import lock_archive
from cryofs.fuse.log_file import note_error
from cryofs.system import extras
from cryofs.system.heap import limit_heap
from cryofs.system.paths import FOLDER_FLAGS
from cryofs.system.request_limit import RequestLimit, request_limit
from cryofs.system.resources import raise_open_files
from cryofs.system.sd_notify import notify
from cryofs.system.thread_pools import spare_threads
from cryofs.vfs.attributes import Ownership

if TYPE_CHECKING:
    from cryofs.fuse.binding import Fuse
    from cryofs.fuse.operations import Operations
    from cryofs.vfs.changing import MakeArchivedMovies
    from cryofs.vfs.file_system import FileSystem

# Threads of libfuse.
_MAX_THREADS, _FEWEST_THREADS = 256, 2

log = logging.getLogger("cryofs")


def serve(
    archive: Path,
    mountpoint: Path,
    settings: Settings,
    options: MountOptions,
    on_live: Callable[[], None],
    make_archived: "MakeArchivedMovies | None" = None,
) -> None:
    """Mount an archive, serve it until it is unmounted, then end the process.

    Parameters
    ----------
    options : MountOptions
        Mount options (``-o``) other than settings.
    on_live : callable
        Function to call once when the mount is live.
    make_archived : callable or None
        Returns what changes archived movies in a writable mount; None if they are read-only.

    Raises
    ------
    ArchiveError
        If the archive of a writable mount is in use.
    MountError
        If mounting fails, or the metrics address is in use.
    DependencyError
        If metrics are enabled but their library is not installed.
    """
    # imported late, because the import loads libfuse
    from cryofs.fuse.libfuse import mfusepy

    limit = request_limit()
    settings = _within(limit, settings)
    raise_open_files()
    spare = spare_threads(settings.jobs, _MAX_THREADS)
    limit_heap()
    lock = _lock(archive, options)
    loading = _loading(archive, mountpoint, settings, options, make_archived)
    life = _Life(archive, mountpoint, settings, limit, loading, lock, on_live)
    _serve_metrics(settings, loading)
    _rescan_on_hangup(loading)
    binding, operations = _binding(options)
    try:
        binding(
            operations(loading, settings.readahead, life.begin, life.end, limit, _facts(limit, settings)),
            str(mountpoint.absolute()),
            foreground=True,
            # names as the calls of Python encode them
            encoding=sys.getfilesystemencoding(),
            errors=sys.getfilesystemencodeerrors(),
            # pass open() a structure with flags that control the kernel's page cache
            raw_fi=True,
            **_mount_options(archive, options),
            **_threads(mfusepy.fuse_version_major, mfusepy.fuse_version_minor, spare),
        )
    except RuntimeError as error:
        raise MountError(f"{mountpoint}: mounting failed (libfuse error {error}); run cryofs doctor") from error
    finally:
        lock.close()


def _binding(options: MountOptions) -> "tuple[type[Fuse], type[Operations]]":
    """Return the binding to libfuse and the operations of a read-only or writable mount."""
    if options.writable:
        from cryofs.fuse.writing import WritingOperations
        from cryofs.fuse.writing_binding import WritingFuse

        return WritingFuse, WritingOperations
    from cryofs.fuse.binding import Fuse
    from cryofs.fuse.operations import Operations

    return Fuse, Operations


def _lock(archive: Path, options: MountOptions) -> contextlib.ExitStack:
    """Lock the archive of a writable mount; closing the result releases it."""
    lock = contextlib.ExitStack()
    if options.writable:
        lock.callback(lock_archive(archive, break_lock=options.break_lock).release)
    return lock


class _Life:
    """Begin and end of the time in which a mount is live; libfuse calls both in threads of its own."""

    def __init__(
        self,
        archive: Path,
        mountpoint: Path,
        settings: Settings,
        limit: RequestLimit | None,
        loading: Loading,
        lock: contextlib.ExitStack,
        on_live: Callable[[], None],
    ):
        self._archive, self._mountpoint, self._settings, self._limit = archive, mountpoint, settings, limit
        self._loading, self._lock, self._on_live = loading, lock, on_live
        self._check_gain = background_check(archive, mountpoint, settings)
        self._was_live = False
        self._device: str | None = None
        self._ending = threading.Lock()

    def begin(self) -> None:
        """Prepare a live mount, and report it to its caller and to systemd."""
        self._was_live, self._device = True, device_number(self._mountpoint)
        _set_readahead(self._mountpoint, self._settings.readahead)
        watch_connection(self.end)
        notify("READY=1", f"STATUS=Serving {self._archive} at {self._mountpoint}")
        self._on_live()
        self._check_gain()

    def end(self) -> None:
        """End the process of a mount that was live."""
        if not self._was_live:
            return
        # the kernel and libfuse both report the end; the second waits here for the end of the process
        self._ending.acquire()
        notify("STOPPING=1", "STATUS=Unmounted")
        if self._device is not None and device_number(self._mountpoint) == self._device:
            note_error(self._mountpoint, ended_by_kernel(self._limit))
        try:
            if files := self._loading.started():
                files.abandon()
            self._lock.close()
        except Exception:
            log.exception("the mount did not end cleanly")
        finally:
            end_process()


def _serve_metrics(settings: Settings, loading: Loading) -> None:
    """Serve the metrics if the settings name an address."""
    if settings.metrics is None:
        return
    extras.require("metrics", "prometheus_client")
    from cryofs.fuse.metrics import serve_metrics

    serve_metrics(settings.metrics, lambda: loading.files().facts())


def _within(limit: RequestLimit | None, settings: Settings) -> Settings:
    """Return settings whose time limit for storage fits into that of the kernel for a request."""
    if limit is None or settings.request_timeout <= limit.storage_seconds:
        return settings
    log.warning(
        "request_timeout is %g s instead of %g s, because this kernel ends a mount that takes longer than %d s for a "
        "request (%s)",
        *(limit.storage_seconds, settings.request_timeout, limit.seconds, limit.name),
    )
    return msgspec.structs.replace(settings, request_timeout=limit.storage_seconds)


def _facts(limit: RequestLimit | None, settings: Settings) -> dict[str, float]:
    """Return the time limits of a mount, for its figures."""
    of_kernel = {"kernel_request_limit": limit.seconds} if limit else {}
    return {"request_timeout": settings.request_timeout, **of_kernel}


def _loading(
    archive: Path,
    mountpoint: Path,
    settings: Settings,
    options: MountOptions,
    make_archived: "MakeArchivedMovies | None",
) -> Loading:
    """Return the loader of the file system; it loads immediately if the mount may hide files that it needs."""
    descriptor = os.open(archive, FOLDER_FLAGS)

    def make() -> "FileSystem":
        # imported late, because NumPy and the kinds of movies take most of the startup time
        from cryofs.fuse.reply import Reply
        from cryofs.vfs.file_system import FileSystem

        # otherwise the first reader waits for the modules that a reply imports
        Reply(1).free()

        if options.writable:
            from cryofs.vfs.writable import WritableFileSystem

            return WritableFileSystem(archive, settings, descriptor, make_archived)
        return FileSystem(archive, settings, Ownership(options.uid, options.gid, options.umask), descriptor)

    loading = Loading(make, settings.jobs)
    if options.nonempty or settings.eer_gain is not None or mountpoint.samefile(archive):
        loading.make()
    return loading


def _rescan_on_hangup(loading: Loading) -> None:
    """Rescan the archive on SIGHUP, instead of ending the mount as libfuse does by default.

    Python runs signal handlers in the main thread, which is inside libfuse until the mount ends. A thread therefore
    waits for the byte that the interpreter writes on every signal. In the foreground of a terminal, SIGHUP means that
    the terminal was closed, and ends the mount.
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
                loading.files().look_again()

    threading.Thread(target=listen, name="hangup", daemon=True).start()


def _mount_options(archive: Path, options: MountOptions) -> dict[str, str | bool]:
    return {
        "fsname": escaped(options.fsname or str(archive.absolute())),
        "subtype": FILE_SYSTEM_TYPE.partition(".")[2],
        **({} if options.writable else {"ro": True}),
        # with allow_other, the kernel must check permissions of each user
        "default_permissions": True,
        # set-user-ID files in an archive must not grant privileges
        "nosuid": True,
        "nodev": True,
        # libfuse warns about its own default, which is equivalent
        "max_idle_threads": str(_MAX_THREADS),
        **fuse_options(options),
    }


def _threads(major: int, minor: int, spare: int) -> dict[str, int]:
    """Return the thread limit for libfuse. A request occupies a thread, so one stuck file exhausts the default of ten.

    libfuse before 3.12 starts threads on demand and does not have the option. Where threads are scarce, half of the
    spare ones are left for files that hang.
    """
    most = _MAX_THREADS if spare >= _MAX_THREADS else _FEWEST_THREADS + spare // 2
    return {"max_threads": most} if (major, minor) >= (3, 12) else {}


def _set_readahead(mountpoint: Path, size: int) -> None:
    """Raise the kernel's read-ahead of this mount above 128 KiB, if this process is permitted to (root).

    Call this while the kernel waits for the reply to INIT: it uses the smaller of this value and the value in the
    reply.
    """
    device = device_number(mountpoint)
    try:
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(size >> 10))
    except OSError as error:
        log.info("cannot raise the kernel's read-ahead of the mount (%s)", error.strerror)
