"""A mount in a process of its own, which outlives the command that starts it.

Loads nothing that serves, so that commands and the helper of mount(8) refuse at once what cannot be mounted.
"""

import os
import subprocess
import sys
from pathlib import Path

from cryofs.errors import MountError
from cryofs.fuse.control import is_mounted
from cryofs.system.sd_notify import VARIABLE


def check_mountpoint(archive: Path, mountpoint: Path) -> None:
    """Check what can be checked before mounting an archive, which is there.

    Raises
    ------
    MountError
        No mountpoint, something of ours mounted there already, a place that would do harm, or FUSE not usable.
    """
    if is_mounted(mountpoint):
        raise MountError(f"{mountpoint}: mounted already; cryofs umount {mountpoint} clears it")
    if mountpoint.exists() and not mountpoint.is_dir():
        raise MountError(f"{mountpoint}: a file, and the mountpoint has to be a folder; name one")
    if not mountpoint.is_dir():
        raise MountError(f"{mountpoint}: no such folder, it is to be the mountpoint; create it first")
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
