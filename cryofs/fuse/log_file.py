"""Choose and open the log file of a mount in the background."""

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryofs.errors import MountError
from cryofs.system.logs import LineFormatter

log = logging.getLogger("cryofs")


@dataclass(frozen=True)
class Log:
    """The log of a mount in the background.

    Attributes
    ----------
    file : BinaryIO
        Open file, at its end.
    path : Path or None
        None if there is no log; `file` then holds only what is written until the mount is live.
    warning : str
        Why there is no log; otherwise empty.
    """

    file: BinaryIO
    path: Path | None = None
    warning: str = ""


def open_log(mountpoint: Path, chosen: str | None) -> Log:
    """Open the log of a mount.

    Parameters
    ----------
    chosen : str or None
        File that the user chose; None for the first of `log_places` that can be written, or no log.

    Raises
    ------
    MountError
        The chosen file cannot be written.
    """
    if chosen is not None:
        try:
            return _opened(Path(chosen))
        except OSError as error:
            raise MountError(
                f"{chosen}: cannot write the log ({error.strerror}); choose another file with -o log_file=FILE"
            ) from error
    reasons = []
    for place in log_places(mountpoint):
        try:
            return _opened(place)
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
    reason = ", ".join(reasons) or "this user has no home directory"
    warning = f"{mountpoint}: mounted without a log ({reason}); choose a file with -o log_file=FILE"
    return Log(os.fdopen(os.memfd_create("log"), "w+b"), None, warning)


def note_error(mountpoint: Path, text: str) -> None:
    """Log an error, also in the default log of a mount if its log is elsewhere: cryofs doctor looks there."""
    log.error("%s: %s", mountpoint, text)
    default = open_log(mountpoint, None)
    with default.file as file:
        if default.path is not None and not os.path.samestat(os.fstat(file.fileno()), os.fstat(2)):
            record = logging.LogRecord("cryofs", logging.ERROR, "", 0, "%s: %s", (mountpoint, text), None)
            file.write(os.fsencode(LineFormatter().format(record)) + b"\n")


def log_places(mountpoint: Path) -> list[Path]:
    """Return the default log files of a mount in order of preference: for root in /var/log, then in the user's home."""
    name = str(mountpoint).strip("/").replace("/", "-") + ".log"
    state = os.environ.get("XDG_STATE_HOME")
    folders = [Path("/var/log")] if not state and os.geteuid() == 0 else []
    # the user may have no home directory
    with contextlib.suppress(RuntimeError):
        folders.append(Path(state or Path.home() / ".local" / "state"))
    return [folder / "cryofs" / name for folder in folders]


def _opened(place: Path) -> Log:
    place.parent.mkdir(parents=True, exist_ok=True)
    return Log(place.open("a+b"), place)
