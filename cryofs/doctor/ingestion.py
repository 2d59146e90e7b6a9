"""Check the figures of a writable mount about the movies that programs wrote through it."""

from pathlib import Path
from shlex import quote
from typing import Any

from cryofs.doctor.finding import Finding, ok, problem, warning
from cryofs.text import counted, duration_text, size_text

# Longest time in which a process that archives movies reports no progress; a frame takes a fraction of a second.
_STUCK_SECONDS = 300.0
# After this time an incomplete movie is not one that is just being copied.
_INCOMPLETE_SECONDS = 3600.0


def check_ingestion(facts: dict[str, Any], mountpoint: Path) -> list[Finding]:
    """Return the findings about written movies; none for a read-only mount.

    Parameters
    ----------
    facts : dict
        Figures of the mount.
    """
    ingest = facts.get("ingest")
    if not ingest:
        return []
    found = [
        *_check_thread(ingest, facts["archive"], mountpoint),
        *_check_errors(ingest),
        *_check_incomplete(ingest["waiting"]["unfinished"]),
        *_check_room(facts),
    ]
    waiting = f"{counted(ingest['waiting_files'], 'movie')} ({size_text(ingest['waiting_bytes'])})"
    summary = f"written movies: {ingest['ingested']} archived since mounting, {waiting} waiting"
    return found or [ok(f"{summary}, {ingest['kept_plain']} kept plain")]


def _check_thread(ingest: dict[str, Any], archive: str, mountpoint: Path) -> list[Finding]:
    """Check that the mount archives movies."""
    again = f"mount again: cryofs umount {quote(str(mountpoint))} && cryofs mount --writable {quote(archive)} "
    if not ingest["alive"]:
        return [problem("archiving has ended in this mount; see its log for the error", again + quote(str(mountpoint)))]
    seconds = ingest["seconds_without_progress"]
    if seconds > _STUCK_SECONDS:
        return [
            problem(
                f"archiving makes no progress for {duration_text(seconds)}",
                f"check that the storage of the archive responds; if it does, {again}{quote(str(mountpoint))}",
            )
        ]
    return []


def _check_errors(ingest: dict[str, Any]) -> list[Finding]:
    """Check for movies that failed, and for errors that prevent archiving, such as child processes that die."""
    found = []
    if ingest["failed"]:
        found.append(
            warning(
                f"{counted(ingest['failed'], 'written movie')} not archived: {ingest['failed_names'][0]}",
                "correct the cause, then write the movie again, or touch it; cryofs stats names the others",
            )
        )
    if ingest["last_error"]:
        retried = ingest["waiting"]["retry"]["files"]
        found.append(
            warning(
                f"{counted(retried, 'written movie')} not archived yet; the last error: {ingest['last_error']}",
                "free space or memory, according to the error; the mount tries again every minute",
            )
        )
    return found


def _check_incomplete(unfinished: dict[str, Any]) -> list[Finding]:
    if not unfinished["files"] or unfinished["oldest_seconds"] < _INCOMPLETE_SECONDS:
        return []
    return [
        warning(
            f"{counted(unfinished['files'], 'written movie')} incomplete, the oldest for "
            f"{duration_text(unfinished['oldest_seconds'])}: {unfinished['names'][0]}",
            "copy them again, or remove them; cryofs stats names the others",
        )
    ]


def _check_room(facts: dict[str, Any]) -> list[Finding]:
    """Check that writers have room beyond the reserve that archiving needs."""
    reserve = facts.get("reserve", 0)
    # writers are slowed only for the sake of movies that wait
    enough = reserve if facts["ingest"]["waiting_files"] else 1
    if not reserve or facts["room"] >= enough:
        return []
    state = "refused" if facts["room"] <= 0 else "slowed down"
    return [
        warning(
            f"writers are {state}: {size_text(max(facts['room'], 0))} left for them, besides the reserve of "
            f"{size_text(reserve)} for archiving",
            f"free space on the storage of {facts['archive']}",
        )
    ]
