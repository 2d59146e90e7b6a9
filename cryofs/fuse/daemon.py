"""A mount in a process of its own, which outlives the command that starts it.

Loads nothing that serves, so that commands and the helper of mount(8) refuse at once what cannot be mounted.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from cryofs.errors import MountError
from cryofs.fuse.control import is_mounted
from cryofs.system.mount_table import mount_table
from cryofs.system.sd_notify import VARIABLE

# How long the storage of a mountpoint may take to respond.
_SECONDS = 20.0


def check_mountpoint(archive: Path, mountpoint: Path, *, nonempty: bool = False, seconds: float = _SECONDS) -> None:
    """Check what can be checked before mounting an archive, which is there.

    Parameters
    ----------
    nonempty : bool
        Accept a mountpoint that holds files, which the mount hides.
    seconds : float
        How long the storage of the mountpoint may take to respond.

    Raises
    ------
    MountError
        No mountpoint, something of ours mounted there already, a place that would do harm, or FUSE not usable.
    """
    if is_mounted(mountpoint):
        raise _mounted_already(mountpoint)
    _in_time(lambda: _check_folder(archive, mountpoint, nonempty), mountpoint, seconds)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise MountError("/dev/fuse: missing or not accessible; see cryofs doctor")


def _mounted_already(mountpoint: Path) -> MountError:
    return MountError(f"{mountpoint}: mounted already; cryofs umount {mountpoint} clears it")


def _in_time(check: Callable[[], None], mountpoint: Path, seconds: float) -> None:
    """Run a check in a thread of its own, because nothing can interrupt a call to storage that hangs."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="mountpoint", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise MountError(f"{mountpoint}: its storage did not respond within {seconds:g} s; mount elsewhere")
    if errors:
        raise errors[0]


def _check_folder(archive: Path, mountpoint: Path, nonempty: bool) -> None:
    if mountpoint.exists() and not mountpoint.is_dir():
        raise MountError(f"{mountpoint}: a file, and the mountpoint has to be a folder; name one")
    if not mountpoint.is_dir():
        raise MountError(f"{mountpoint}: no such folder, it is to be the mountpoint; create it first")
    _check_places(archive.resolve(), mountpoint.resolve())
    if nonempty or mountpoint.samefile(archive) or not _has_entries(mountpoint):
        return
    if is_mounted(mountpoint):
        # listing the folder had it mounted (autofs)
        raise _mounted_already(mountpoint)
    if not _has_entries(archive):
        raise MountError(
            f"{archive}: empty, and the mountpoint {mountpoint} is not; the archive comes first: "
            f"cryofs mount {mountpoint} {archive}"
        )
    raise MountError(
        f"{mountpoint}: not empty, and the mount would hide what it holds; name an empty folder, or add -o nonempty"
    )


def _check_places(archive: Path, mountpoint: Path) -> None:
    """Refuse a mount that would wait for itself, or hide its own archive; only over the archive itself it may be."""
    if archive in mountpoint.parents:
        raise MountError(f"{mountpoint}: lies inside the archive {archive}, which it would show; mount elsewhere")
    if mountpoint in archive.parents:
        raise MountError(f"{mountpoint}: holds the archive {archive}, which it would hide; mount elsewhere")


def _has_entries(folder: Path) -> bool:
    """Return True if a folder holds anything but places where something is mounted on demand."""
    place = folder.resolve()
    on_demand = {mount.place for mount in mount_table() if mount.kind == "autofs"}
    with os.scandir(folder) as entries:
        return any(place / entry.name not in on_demand for entry in entries)


def serve_in_background(arguments: list[str], archive: Path, mountpoint: Path, log_file: Path) -> None:
    """Mount in a process of its own; return when the mount is live.

    Parameters
    ----------
    arguments : list of str
        Options of `cryofs mount`.
    log_file : Path
        Gets what that process logs.

    Raises
    ------
    MountError
        The process ended before.
    """
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        output = log_file.open("ab")
    except OSError as error:
        raise MountError(
            f"{log_file}: no log can be written there ({error.strerror}); choose another place by -o log_file=FILE"
        ) from error
    ready, ready_writer = os.pipe()
    with output, os.fdopen(ready, "rb") as reader:
        start = output.tell()
        command = ["mount", str(archive), str(mountpoint), "--foreground", *arguments, "--ready-fd", str(ready_writer)]
        process = subprocess.Popen(
            [sys.executable, "-m", "cryofs", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[ready_writer],
            cwd="/",
            # a service manager waits for the command that it started, not for this process
            env={name: value for name, value in os.environ.items() if name != VARIABLE},
        )
        os.close(ready_writer)
        if reader.read(1):
            return
    process.wait()
    said = log_file.read_bytes()[start:].decode(errors="replace").split("\n")
    reason = "; ".join(line.removeprefix("cryofs: ") for line in said if line)
    reason = reason or f"its process ended with code {process.returncode}"
    raise MountError(f"{mountpoint}: not mounted: {reason} (log: {log_file})")


def leave(ready_descriptor: int) -> None:
    """Let go of the command that started this process, and tell it that the mount is live.

    Not before: what mounts on demand (autofs) lets the process group of mount(8) alone touch the mountpoint meanwhile.
    """
    os.setsid()
    os.write(ready_descriptor, b"1")
    os.close(ready_descriptor)


def default_log(mountpoint: Path) -> Path:
    """Where a mount in the background writes its log where nobody says: of root in /var/log, else in the user's home.

    Raises
    ------
    MountError
        The user has no home.
    """
    name = str(mountpoint).strip("/").replace("/", "-") + ".log"
    state = os.environ.get("XDG_STATE_HOME")
    if not state and os.geteuid() == 0:
        return Path("/var/log/cryofs") / name
    try:
        return Path(state or Path.home() / ".local" / "state") / "cryofs" / name
    except RuntimeError as error:
        raise MountError(f"{mountpoint}: this user has no home for a log; name a place by -o log_file=FILE") from error
