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
# Largest share of the time for queries, because the figures of many waiting movies take a while.
_POLL_SHARE = 0.1
# Reasons of movies that a request to the mount tries now.
_DELAYED = ("gain", "retry", "room")

# Reasons of movies that the mount tries without further events.
MOVING = ("settling", "ingesting", *_DELAYED)


def wait_until_archived(mountpoint: Path, on_figures: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Wait until nothing that a mount can archive waits, and until no program has a file open for writing.

    Movies that wait for a gain reference, for room, or for another attempt after an error are tried now, and once more
    after other movies have arrived. Movies that are incomplete or failed are not waited for.

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
        The mount is stale, does not respond, or archives no more movies.
    """
    is_asked, quiet = False, 0
    while True:
        began = time.monotonic()
        facts = mount_facts(mountpoint)
        if facts is None or not (ingest := facts.get("ingest")):
            return {}
        if not ingest["alive"]:
            raise MountError(
                f"{mountpoint}: archiving has ended (see the log of the mount); unmount without --wait, then run "
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
            # right after a close, the file is neither open nor waiting yet
            if quiet > 1:
                return dict(ingest)
        time.sleep(max(_POLL_SECONDS, (time.monotonic() - began) / _POLL_SHARE))


def is_busy(ingest: dict[str, Any]) -> bool:
    """Return True if movies are being archived, or will be without further events."""
    is_due = any(figures["due"] for figures in ingest["waiting"].values())
    return is_due or ingest["searching"] or files_of(ingest, ["settling", "ingesting"]) > 0


def left_plain(ingest: dict[str, Any]) -> int:
    """Return the number of movies that should be archived and are not."""
    return int(ingest["failed"]) + files_of(ingest, _DELAYED)


def files_of(ingest: dict[str, Any], reasons: Collection[str]) -> int:
    """Return the number of movies that wait for some reasons."""
    return sum(figures["files"] for reason, figures in ingest["waiting"].items() if reason in reasons)
