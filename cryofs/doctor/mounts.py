"""How mounts are: alive, dead or stuck, their read-ahead, and figures that speak of trouble. Checks of `cryofs doctor`.

A mount is asked in a process of its own, because nobody can tell beforehand whether it answers, and a process that
waits for it may not even be killed.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from shlex import quote
from typing import Any

from cryofs.doctor.finding import Finding, ok, problem, warning
from cryofs.fuse.control import FACTS_ATTRIBUTE, FILE_SYSTEM_TYPE, device_number
from cryofs.system.mount_table import MOUNT_TABLE, mount_table
from cryofs.system.resources import ROOT
from cryofs.text import size_text

# A busy mount answers within milliseconds, as no decode holds up the facts.
PATIENCE = 10.0
_MOMENT = 0.1
# Frames that one program alone keeps in use: those decoded at a time, and the one ahead.
_FEW_FRAMES = 4
# Frames decoded ahead from which on a mount can be judged.
_SOME_FRAMES = 16
# Over its own archive a mount hides it, and can be told from a deleted one only by what it shows.
_ASK = """
import json, os, sys

def lost(place, archive):
    shown = os.stat(place)
    try:
        there = os.stat(archive)
    except (FileNotFoundError, NotADirectoryError):
        return "is not there any more"
    except OSError:
        return ""
    if there.st_dev == shown.st_dev:
        return "" if shown.st_nlink or os.listdir(place) else "was deleted"
    return "" if there.st_ino == shown.st_ino else "is another folder now"

try:
    place, attribute = sys.argv[1:]
    facts = json.loads(os.getxattr(place, attribute))
    print(json.dumps([facts, lost(place, facts["archive"])]))
except OSError as error:
    sys.exit(error.errno)
"""


class State(Enum):
    """How a mount answers."""

    ALIVE = "alive"
    DEAD = "dead"
    STUCK = "stuck"
    CLOSED = "closed to this user"
    FAILING = "failing"
    UNASKED = "not asked"


@dataclass(frozen=True)
class Answer:
    """How a mount answers.

    Attributes
    ----------
    facts : dict
        What it says of itself, where it is alive.
    lost : str
        What became of its archive, where that is no longer in its place.
    reason : str
        The error that it gives, where it is failing; what keeps it from being asked.
    """

    state: State
    facts: dict[str, Any] = field(default_factory=dict)
    lost: str = ""
    reason: str = ""


# by the error that a mount gives
_STATES = {
    errno.ENOTCONN: State.DEAD,
    errno.ECONNABORTED: State.DEAD,
    errno.EACCES: State.CLOSED,
    errno.EPERM: State.CLOSED,
}


def ask(mountpoints: Sequence[Path], patience: float = PATIENCE) -> list[Answer]:
    """Ask mounts how they are, all at the same time, and wait no longer than `patience` seconds."""
    asking = [_asked(place) for place in mountpoints]
    deadline = time.monotonic() + patience
    return [_answer(process, deadline) for process in asking]


def _asked(mountpoint: Path) -> subprocess.Popen[bytes] | Answer:
    command = [sys.executable, "-I", "-S", "-c", _ASK, str(mountpoint), FACTS_ATTRIBUTE]
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        return Answer(State.UNASKED, reason=f"{sys.executable}: {error.strerror}")


def _answer(process: subprocess.Popen[bytes] | Answer, deadline: float) -> Answer:
    if isinstance(process, Answer):
        return process
    try:
        # those that have answered while one before them took all the time are heard all the same
        said, _ = process.communicate(timeout=max(_MOMENT, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        # it may be waiting for the mount in a way that nothing ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        return Answer(State.STUCK)
    if process.returncode == 0:
        return Answer(State.ALIVE, *json.loads(said))
    state = _STATES.get(process.returncode, State.FAILING)
    return Answer(state, reason=os.strerror(process.returncode) if state is State.FAILING else "")


def check_mounts(table: Path = MOUNT_TABLE, patience: float = PATIENCE) -> list[Finding]:
    """Whether the mounts of cryofs on this machine are alive."""
    places = list({mount.place: None for mount in mount_table(table) if mount.kind == FILE_SYSTEM_TYPE})
    return [_state_finding(place, answer) for place, answer in zip(places, ask(places, patience), strict=True)]


def check_mount(mountpoint: Path, patience: float = PATIENCE) -> tuple[list[Finding], dict[str, Any] | None]:
    """How the mount at this path is; also what it says of itself, None where it does not answer or has no archive."""
    (answer,) = ask([mountpoint], patience)
    found = [_state_finding(mountpoint, answer)]
    if answer.state is not State.ALIVE or answer.lost:
        return found, None
    device = device_number(mountpoint)
    if device is not None:
        found.append(check_readahead(device, answer.facts["readahead"]))
    return found, answer.facts


def _state_finding(place: Path, answer: Answer) -> Finding:
    match answer.state:
        case State.ALIVE if answer.lost:
            archive, mountpoint = quote(answer.facts["archive"]), quote(str(place))
            return problem(
                f"{place}: alive, but its archive {answer.facts['archive']} {answer.lost}",
                f"put the archive back, then cryofs umount {mountpoint} && cryofs mount {archive} {mountpoint}",
            )
        case State.ALIVE:
            return ok(f"{place}: alive, shows {answer.facts['archive']} (process {answer.facts['pid']})")
        case State.DEAD:
            return problem(f"{place}: a dead mount, its process is gone", f"cryofs umount {quote(str(place))}")
        case State.STUCK:
            return problem(
                f"{place}: a mount that does not answer",
                f"see whether the disk of its archive answers; else find its process (pgrep -af 'mount .*{place}'), "
                f"kill it, then cryofs umount {quote(str(place))}",
            )
        case State.CLOSED:
            return ok(f"{place}: mounted, but closed to this user", "its user may mount with -o allow_other")
        case State.UNASKED:
            return problem(
                f"{place}: a mount that this user cannot ask how it is ({answer.reason})",
                "run cryofs doctor as one who may run that program",
            )
        case State.FAILING:
            return problem(
                f"{place}: a mount that gives an error ({answer.reason})",
                f"see its log, and whether its archive can be read; else cryofs umount {quote(str(place))}, then mount",
            )


def check_readahead(device: str, wanted: int, root: Path = ROOT) -> Finding:
    """Whether the kernel reads as far ahead of a mount as its settings want.

    Parameters
    ----------
    device : str
        Device number of the mount.
    """
    path = root / f"sys/class/bdi/{device}/read_ahead_kb"
    try:
        has = int(path.read_text()) << 10
    except OSError as error:
        return warning(f"read-ahead: cannot be told ({path}: {error.strerror})", "mount /sys, then try again")
    if has >= wanted:
        return ok(f"read-ahead: {has >> 10} KiB")
    return warning(
        f"read-ahead: {has >> 10} KiB instead of {wanted >> 10}, as only root may raise it",
        f"as root: echo {wanted >> 10} > {path}; for all mounts, the udev rule in the documentation (Operations)",
    )


def check_figures(facts: dict[str, Any], frame_bytes: int) -> list[Finding]:
    """Figures of a mount that speak of trouble.

    Parameters
    ----------
    frame_bytes : int
        Of the largest frames in its archive, 0 where they are not known.
    """
    found = []
    budget = facts["budget_bytes"]
    if facts["failures"]:
        found.append(
            warning(
                f"{facts['failures']} times a frame could not be decoded since the mount was made",
                f"the log names each; cryofs verify {facts['archive']}",
            )
        )
    if budget < _FEW_FRAMES * frame_bytes:
        found.append(
            warning(
                f"cache: {size_text(budget)} hold fewer than {_FEW_FRAMES} frames of {size_text(frame_bytes)}, "
                "so frames are decoded again and again",
                f"mount with --cache-size {(_FEW_FRAMES * frame_bytes >> 20) + 1}MiB or more",
            )
        )
    elif facts["misses"] > facts["read_ahead"] >= _SOME_FRAMES and 2 * facts["cached_bytes"] > budget:
        found.append(
            warning(
                f"cache: {facts['misses']} frames were waited for, and {facts['read_ahead']} decoded ahead; "
                "frames are dropped before they are read",
                f"mount with a larger --cache-size than {budget >> 20}MiB",
            )
        )
    return found or [ok(f"figures: {facts['decodes']} frames decoded, no trouble")]
