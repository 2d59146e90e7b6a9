"""Wait, from another process, until a writable mount has archived the movies that programs wrote.

Nothing in the mount depends on the process that waits, which may end at any moment. Imports no FUSE library, so that
`cryofs umount` starts quickly.
"""

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from cryofs.errors import MountError
from cryofs.fuse.control import mount_facts, settle_now

_POLL_SECONDS = 0.3
# The figures of many waiting movies take a while; querying takes at most this share of the time.
_POLL_SHARE = 0.1
# Reasons for which movies wait that are not archived yet; a request to the mount tries these at once.
_DELAYED = ("gain", "retry", "room")

# Reasons for which movies wait that will be archived, or tried, without further events.
MOVING = ("settling", "ingesting", *_DELAYED)


def wait_until_archived(mountpoint: Path, on_figures: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Wait until nothing that a mount can archive waits, and until no program has a file open for writing.

    Movies that wait for others to share a gain reference with, or that failed for a reason that may pass, are tried at
    once, and once more after other movies have come. Movies that are incomplete or failed are not waited for.

    Parameters
    ----------
    on_figures : callable
        Called often with the figures of the mount.

    Returns
    -------
    dict
        The figures of ingestion; empty for a read-only mount.

    Raises
    ------
    MountError
        The mount is stale, does not respond, or has stopped to archive movies.
    """
    is_asked, quiet = False, 0
    while True:
        began = time.monotonic()
        facts = mount_facts(mountpoint)
        if facts is None or not (ingest := facts.get("ingest")):
            return {}
        if not ingest["alive"]:
            raise MountError(
                f"{mountpoint}: the mount archives no more movies (see its log); unmount without --wait, then run "
                f"cryofs ingest {facts['archive']}"
            )
        on_figures(facts)
        if files_of(ingest, ["settling"]):
            is_asked = False
        if is_busy(ingest):
            quiet = 0
        elif not is_asked and files_of(ingest, _DELAYED):
            settle_now(mountpoint)
            is_asked, quiet = True, 0
        elif facts["open_for_writing"]:
            quiet = 0
        else:
            quiet += 1
            # between the close of a file and the note about it, neither is seen
            if quiet > 1:
                return dict(ingest)
        time.sleep(max(_POLL_SECONDS, (time.monotonic() - began) / _POLL_SHARE))


def is_busy(ingest: dict[str, Any]) -> bool:
    """Return True if movies are being archived, or will be without further events."""
    is_due = any(figures["due"] for figures in ingest["waiting"].values())
    return is_due or ingest["searching"] or files_of(ingest, ["settling", "ingesting"]) > 0


def left_plain(ingest: dict[str, Any]) -> int:
    """Return the number of movies that are to be archived, and are not."""
    return int(ingest["failed"]) + files_of(ingest, _DELAYED)


def files_of(ingest: dict[str, Any], reasons: Collection[str]) -> int:
    """Return how many movies wait for some reasons."""
    return sum(figures["files"] for reason, figures in ingest["waiting"].items() if reason in reasons)
