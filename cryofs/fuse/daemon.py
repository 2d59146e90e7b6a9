"""Start a mount in a background process that outlives the command.

The process is a fork of the command, so that modules are not imported twice. This module does not import the serving
code, so that commands and the mount(8) helper report invalid requests quickly.
"""

import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cryofs.config.mount_options import MountOptions
from cryofs.config.settings import Settings
from cryofs.errors import CryofsError, MountError
from cryofs.fuse.control import is_mounted
from cryofs.fuse.log_file import Log
from cryofs.system import limited
from cryofs.system.logs import set_up
from cryofs.system.mount_table import mount_table
from cryofs.system.sd_notify import VARIABLE
from cryofs.text import printable

if TYPE_CHECKING:
    from cryofs.vfs.changing import MakeArchivedMovies

# Timeout for the storage of a mountpoint, in seconds.
_SECONDS = 20.0


def check_mountpoint(archive: Path, mountpoint: Path, *, nonempty: bool = False, seconds: float = _SECONDS) -> None:
    """Check the mountpoint of an existing archive before mounting.

    Parameters
    ----------
    nonempty : bool
        Accept a mountpoint that contains files, which the mount hides.
    seconds : float
        Timeout for the storage of the mountpoint, in seconds.

    Raises
    ------
    MountError
        If the mountpoint is missing, already mounted by cryofs or not allowed, or if FUSE is not available.
    """
    if is_mounted(mountpoint):
        raise _already_mounted(mountpoint)
    _run_with_timeout(lambda: _check_folder(archive, mountpoint, nonempty), mountpoint, seconds)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise MountError("/dev/fuse: missing or not accessible; run cryofs doctor")


def _already_mounted(mountpoint: Path) -> MountError:
    return MountError(f"{mountpoint}: already mounted; unmount it with cryofs umount {mountpoint}")


def _run_with_timeout(check: Callable[[], None], mountpoint: Path, seconds: float) -> None:
    """Run a check of the storage of a mountpoint, which may hang."""
    try:
        limited.run(check, seconds)
    except TimeoutError:
        raise MountError(
            f"{mountpoint}: storage did not respond within {seconds:g} s; use another mountpoint"
        ) from None


def _check_folder(archive: Path, mountpoint: Path, nonempty: bool) -> None:
    if mountpoint.exists() and not mountpoint.is_dir():
        raise MountError(f"{mountpoint}: not a folder; pass a folder as mountpoint")
    if not mountpoint.is_dir():
        raise MountError(f"{mountpoint}: mountpoint does not exist; create the folder first")
    _check_places(archive.resolve(), mountpoint.resolve())
    if nonempty or mountpoint.samefile(archive) or not _has_entries(mountpoint):
        return
    if is_mounted(mountpoint):
        # listing the folder triggered an automount (autofs)
        raise _already_mounted(mountpoint)
    if not _has_entries(archive):
        raise MountError(
            f"{archive}: archive is empty but mountpoint {mountpoint} is not; swap the arguments: "
            f"cryofs mount {mountpoint} {archive}"
        )
    raise MountError(
        f"{mountpoint}: not empty, so the mount would hide its files; use an empty folder, or add -o nonempty"
    )


def _check_places(archive: Path, mountpoint: Path) -> None:
    """Raise MountError for a mountpoint inside the archive or above it; the archive itself is allowed."""
    if archive in mountpoint.parents:
        raise MountError(f"{mountpoint}: inside the archive {archive}, so the mount would show itself; mount elsewhere")
    if mountpoint in archive.parents:
        raise MountError(f"{mountpoint}: contains the archive {archive}, so the mount would hide it; mount elsewhere")


def _has_entries(folder: Path) -> bool:
    """Return True if a folder has entries other than automount points."""
    place = folder.resolve()
    on_demand = {mount.place for mount in mount_table() if mount.kind == "autofs"}
    with os.scandir(folder) as entries:
        return any(place / entry.name not in on_demand for entry in entries)


def serve_in_background(
    archive: Path,
    mountpoint: Path,
    settings: Settings,
    options: MountOptions,
    log: Log,
    make_archived: "MakeArchivedMovies | None" = None,
) -> None:
    """Mount in a background process; return when the mount is live.

    The process is a fork of this one, which has already imported most modules and checked the options.

    Parameters
    ----------
    log : Log
        Log of the background process; closed here.
    make_archived : callable or None
        As that of `cryofs.fuse.serve.serve`.

    Raises
    ------
    MountError
        If the process ends before the mount is live.
    """
    ready, ready_writer = os.pipe()
    with log.file as output, os.fdopen(ready, "rb") as reader:
        start = output.seek(0, os.SEEK_END)
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        process = os.fork()
        if process == 0:
            _become_server(output.fileno(), ready_writer)
            leave = partial(_leave, ready_writer, keeps_log=log.path is not None)
            _serve(lambda: serve_here(archive, mountpoint, settings, options, leave, make_archived))
        os.close(ready_writer)
        if reader.read(1):
            return
        _, status = os.waitpid(process, 0)
        output.seek(start)
        lines = output.read().decode(errors="replace").split("\n")
    reason = "; ".join(line.removeprefix("cryofs: ") for line in lines if line)
    reason = reason or f"its process ended with code {os.waitstatus_to_exitcode(status)}"
    place = f" (log: {log.path})" if log.path else ""
    raise MountError(f"{mountpoint}: not mounted: {reason}{place}")


def _become_server(log_descriptor: int, ready_writer: int) -> None:
    """Detach from the command: its terminal, its working directory, and its inherited files."""
    null = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((null, log_descriptor, log_descriptor)):
        os.dup2(descriptor, number)
    # a caller may have replaced the standard streams by objects that write elsewhere
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    os.closerange(3, ready_writer)
    os.closerange(ready_writer + 1, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    # the service manager expects notifications from the process that it started
    os.environ.pop(VARIABLE, None)


def _serve(serve: Callable[[], None]) -> NoReturn:
    """Serve in the forked process, then exit without running any remaining code of the command."""
    code = 1
    try:
        serve()
        code = 0
    except (CryofsError, OSError) as error:
        print(f"cryofs: {printable(str(error))}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the fork must not continue the command
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve_here(
    archive: Path,
    mountpoint: Path,
    settings: Settings,
    options: MountOptions,
    on_live: Callable[[], None],
    make_archived: "MakeArchivedMovies | None" = None,
) -> None:
    """Mount, and serve in this process until the archive is unmounted; see `cryofs.fuse.serve.serve`."""
    from cryofs.fuse.serve import serve

    set_up(options.log_level or "info", options.log_format or "text", sys.stderr)
    serve(archive, mountpoint, settings, options, on_live, make_archived)


def _leave(ready_writer: int, *, keeps_log: bool) -> None:
    """Leave the session of the command that started this process, and report to the command that the mount is live.

    Call this only once the mount is live: until then, autofs restricts the mountpoint to the process group of mount(8).
    """
    os.setsid()
    if not keeps_log:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        os.close(null)
    os.write(ready_writer, b"1")
    os.close(ready_writer)
