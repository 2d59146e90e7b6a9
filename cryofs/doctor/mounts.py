"""Check the state, the read-ahead and the figures of live mounts for `cryofs doctor`.

Each mount is queried in a separate process, because a mount may never respond.
"""

import errno
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

from cryofs.doctor.finding import Finding, ok, problem, warning
from cryofs.doctor.mount_causes import Server, last_error, server_of
from cryofs.fuse.control import ANSWER_SECONDS, FACTS_ATTRIBUTE, FILE_SYSTEM_TYPE, mount_at
from cryofs.system.limited import Call
from cryofs.system.mount_table import MOUNT_TABLE, Mount, mount_table
from cryofs.system.resources import ROOT
from cryofs.text import size_text

# Number of frames that a single reader uses: those decoded in parallel, and the next one.
_FEW_FRAMES = 4
# Minimum number of frames decoded ahead before the figures are meaningful.
_SOME_FRAMES = 16


class State(Enum):
    """State of a mount."""

    ALIVE = "alive"
    DEAD = "dead"
    STUCK = "stuck"
    CLOSED = "not accessible to this user"
    FAILING = "failing"
    NOT_QUERIED = "not queried"


@dataclass(frozen=True)
class Status:
    """Result of querying a mount.

    Attributes
    ----------
    facts : dict
        Figures that a live mount reports.
    lost : str
        Reason why the archive is no longer at its path; empty if it is.
    reason : str
        Error message of a failing mount or a failed query; otherwise empty.
    """

    state: State
    facts: dict[str, Any] = field(default_factory=dict)
    lost: str = ""
    reason: str = ""


# state by the errno with which the query exits
_STATES = {
    errno.ENOTCONN: State.DEAD,
    errno.ECONNABORTED: State.DEAD,
    errno.EACCES: State.CLOSED,
    errno.EPERM: State.CLOSED,
}


def query(mountpoints: Sequence[Path], timeout: float = ANSWER_SECONDS) -> list[Status]:
    """Query mounts in parallel for at most `timeout` seconds; return the status of each."""
    calls = [_begin(mountpoint) for mountpoint in mountpoints]
    deadline = time.monotonic() + timeout
    return [_status(call, deadline) for call in calls]


def _begin(mountpoint: Path) -> Call[Status] | Status:
    try:
        return Call(partial(_query, mountpoint))
    except OSError as error:
        return Status(State.NOT_QUERIED, reason=error.strerror or "no process can be started")


def _query(mountpoint: Path) -> Status:
    """Return the status of a mount; may hang."""
    try:
        facts = json.loads(os.getxattr(mountpoint, FACTS_ATTRIBUTE))
        return Status(State.ALIVE, facts, _lost(mountpoint, Path(facts["archive"])))
    except OSError as error:
        state = _STATES.get(error.errno or 0, State.FAILING)
        return Status(state, reason=error.strerror or "" if state is State.FAILING else "")


def _lost(mountpoint: Path, archive: Path) -> str:
    """Return what happened to an archive that is no longer at its path, or an empty string.

    A mount over its own archive hides it, so a deleted archive shows only as an empty folder without links.
    """
    shown = mountpoint.stat()
    try:
        current = archive.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "no longer exists"
    except OSError:
        return ""
    if current.st_dev == shown.st_dev:
        return "" if shown.st_nlink or os.listdir(mountpoint) else "was deleted"
    return "" if current.st_ino == shown.st_ino else "was replaced by another folder"


def _status(call: Call[Status] | Status, deadline: float) -> Status:
    if isinstance(call, Status):
        return call
    try:
        # queries that finished while an earlier one used up the time have left their results
        return call.result(deadline)
    except TimeoutError:
        return Status(State.STUCK)


def check_mounts(table: Path = MOUNT_TABLE, timeout: float = ANSWER_SECONDS) -> list[Finding]:
    """Check that all mounts of cryofs on this machine respond."""
    # the last mount on a mountpoint is on top
    mounts = {mount.place: mount for mount in mount_table(table) if mount.kind == FILE_SYSTEM_TYPE}
    statuses = dict(zip(mounts, query(list(mounts), timeout), strict=True))
    # a mount may be removed while it is queried
    left = {mount.place for mount in mount_table(table)}
    return [_state_finding(place, status, mounts[place]) for place, status in statuses.items() if place in left]


def check_mount(mountpoint: Path, timeout: float = ANSWER_SECONDS) -> tuple[list[Finding], dict[str, Any] | None]:
    """Return the findings about a mount, and its figures, or None if it does not respond or has lost its archive."""
    (status,) = query([mountpoint], timeout)
    mount = mount_at(mountpoint)
    found = [_state_finding(mountpoint, status, mount)]
    if status.state is not State.ALIVE or status.lost:
        return found, None
    if mount is not None:
        found.append(check_readahead(mount.device, status.facts["readahead"]))
    if limit := status.facts.get("kernel_request_limit"):
        found.append(
            ok(
                f"requests: answered within {status.facts['request_timeout']:g} s if storage does not respond, because "
                f"the kernel ends mounts that take longer than {limit} s"
            )
        )
    return found, status.facts


def _state_finding(place: Path, status: Status, mount: Mount | None) -> Finding:
    match status.state:
        case State.ALIVE if status.lost:
            archive, mountpoint = quote(status.facts["archive"]), quote(str(place))
            return problem(
                f"{place}: live, but its archive {status.facts['archive']} {status.lost}",
                f"restore the archive, then cryofs umount {mountpoint} && cryofs mount {archive} {mountpoint}",
            )
        case State.ALIVE:
            return ok(f"{place}: live, shows {status.facts['archive']} (process {status.facts['pid']})")
        case State.DEAD:
            cause = f"; the last line of its log: {error}" if (error := last_error(place)) else ""
            return problem(f"{place}: stale mount (its process has ended){cause}", f"cryofs umount {quote(str(place))}")
        case State.STUCK:
            return _stuck_finding(place, server_of(mount) if mount else None)
        case State.CLOSED:
            return ok(f"{place}: mounted, but not accessible to this user", "its owner can mount with -o allow_other")
        case State.NOT_QUERIED:
            return problem(
                f"{place}: cannot query this mount as the current user ({status.reason})",
                "rerun cryofs doctor with sufficient privileges, for example as root",
            )
        case State.FAILING:
            return problem(
                f"{place}: the mount returns an error ({status.reason})",
                f"check its log, and that its archive is readable; otherwise run cryofs umount {quote(str(place))} and "
                "mount again",
            )


def _stuck_finding(place: Path, server: Server | None) -> Finding:
    detach = f"cryofs umount --lazy {quote(str(place))}"
    if server is None:
        return problem(
            f"{place}: the mount does not respond",
            f"check that the storage of its archive responds; otherwise kill its process "
            f"(pgrep -af 'mount .*{place}'), or detach it: {detach}",
        )
    number = server.number
    if server.is_stopped:
        return problem(
            f"{place}: the mount does not respond, because its process {number} is stopped",
            f"continue it: kill -CONT {number}; or detach it: {detach}",
        )
    return problem(
        f"{place}: the mount does not respond (process {number})",
        f"check that the storage of its archive responds; otherwise kill {number}, or detach it: {detach}",
    )


def check_readahead(device: str, expected: int, root: Path = ROOT) -> Finding:
    """Check that the read-ahead of the kernel for a mount equals the value in the settings.

    Parameters
    ----------
    device : str
        Device number of the mount.
    """
    path = root / f"sys/class/bdi/{device}/read_ahead_kb"
    try:
        actual = int(path.read_text()) << 10
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a number"
        return warning(f"read-ahead: unknown ({path}: {reason})", "mount /sys, then retry")
    if actual >= expected:
        return ok(f"read-ahead: {actual >> 10} KiB")
    return warning(
        f"read-ahead: {actual >> 10} KiB, below the setting of {expected >> 10} KiB, because only root can raise it",
        f"as root: echo {expected >> 10} > {path}; for all mounts, the udev rule in the documentation (Operations)",
    )


def check_figures(facts: dict[str, Any], frame_bytes: int) -> list[Finding]:
    """Return findings about problems that the figures of a mount indicate.

    Parameters
    ----------
    frame_bytes : int
        Size of the largest frame in the archive, or 0 if unknown.
    """
    found = []
    budget = facts["budget_bytes"]
    if facts["failures"]:
        found.append(
            warning(
                f"decoding a frame failed {facts['failures']} times since mounting",
                f"see the log for each, or check the archive: cryofs verify {facts['archive']}",
            )
        )
    # mounts of older versions do not report damaged files
    if damaged := facts.get("damaged"):
        found.append(
            warning(
                f"{facts['damaged_files']} files look damaged: {damaged[0]}",
                "copy the files again from their source or a backup; the log lists all of them, and cryofs stats lists "
                f"{len(damaged)}",
            )
        )
    if budget < _FEW_FRAMES * frame_bytes:
        found.append(
            warning(
                f"cache: {size_text(budget)} hold fewer than {_FEW_FRAMES} frames of {size_text(frame_bytes)}, "
                "so frames are decoded repeatedly",
                f"mount with --cache-size {(_FEW_FRAMES * frame_bytes >> 20) + 1}MiB or more",
            )
        )
    elif facts["misses"] > facts["read_ahead"] >= _SOME_FRAMES and 2 * facts["cached_bytes"] > budget:
        found.append(
            warning(
                f"cache: readers waited for {facts['misses']} frames, {facts['read_ahead']} were decoded ahead; frames "
                "are dropped before they are read",
                f"mount with a --cache-size above {budget >> 20}MiB",
            )
        )
    return found or [ok(f"figures: {facts['decodes']} frames decoded, no problems")]
