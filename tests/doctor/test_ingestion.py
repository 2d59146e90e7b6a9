"""Findings about the movies that programs write through a mount, by the figures of the mount."""

from pathlib import Path
from typing import Any

import pytest

from cryofs.doctor.finding import Level
from cryofs.doctor.ingestion import check_ingestion

NONE: dict[str, Any] = {"files": 0, "bytes": 0, "oldest_seconds": 0, "names": []}


def facts(unfinished: dict[str, Any] = NONE, room: int | None = None, **ingest: Any) -> dict[str, Any]:
    """Figures of a writable mount."""
    found = {
        "waiting": {"unfinished": unfinished, "retry": {**NONE, "files": 2}},
        "waiting_files": 2,
        "waiting_bytes": 4_000_000_000,
        "ingested": 5,
        "kept_plain": 1,
        "failed": 0,
        "failed_names": [],
        "last_error": "",
        "alive": True,
        "seconds_without_progress": 0,
    }
    rest = {} if room is None else {"room": room, "reserve": 3_000_000_000}
    return {"archive": "/a/b c", "ingest": {**found, **ingest}, **rest}


def test_a_mount_without_problems() -> None:
    (found,) = check_ingestion(facts(), Path("/mnt"))
    assert found.level is Level.OK
    assert "5 archived since mounting, 2 movies (4.00 GB) waiting, 1 kept plain" in found.what


def test_a_read_only_mount() -> None:
    assert check_ingestion({"archive": "/a"}, Path("/mnt")) == []


OLD = {**NONE, "files": 1, "oldest_seconds": 7200, "names": ["c.mrc: truncated"]}


@pytest.mark.parametrize(
    ("figures", "level", "what", "remedy"),
    [
        (facts(alive=False), Level.PROBLEM, "archiving has ended", "cryofs mount --writable '/a/b c' /mnt"),
        (facts(seconds_without_progress=900), Level.PROBLEM, "no progress for 15 min", "storage of the archive"),
        (facts(failed=1, failed_names=["x.mrc: bad"]), Level.WARNING, "1 written movie not archived: x.mrc: bad", ""),
        (facts(last_error="12:00 x.mrc: two died"), Level.WARNING, "2 written movies not archived yet", "every minute"),
        (facts(OLD), Level.WARNING, "1 written movie incomplete, the oldest for 2.0 h: c.mrc: truncated", "copy"),
        (facts(room=10_000_000), Level.WARNING, "slowed down: 10.00 MB left", "free space on the storage of /a/b c"),
        (facts(room=0), Level.WARNING, "refused: 0 B left", "free space"),
    ],
)
def test_problems(figures: dict[str, Any], level: Level, what: str, remedy: str) -> None:
    (found,) = check_ingestion(figures, Path("/mnt"))
    assert found.level is level
    assert what in found.what
    assert remedy in found.remedy


@pytest.mark.parametrize("figures", [facts(room=3_000_000_000), facts(room=10_000_000, waiting_files=0)])
def test_room_for_all_writers(figures: dict[str, Any]) -> None:
    (found,) = check_ingestion(figures, Path("/mnt"))
    assert found.level is Level.OK
