"""Waiting until a mount has archived what was written, by the figures that it reports."""

from pathlib import Path
from typing import Any

import pytest

from cryofs.errors import MountError
from cryofs.fuse import archiving
from cryofs.fuse.archiving import left_plain, wait_until_archived

REASONS = ("settling", "gain", "open", "unfinished", "retry", "ingesting")
REQUEST = "request"


def figures(*, due: int = 0, writers: int = 0, searching: bool = False, alive: bool = True, **files: int) -> Any:
    """Figures of a mount with some files that wait."""
    waiting = {reason: {"files": files.get(reason, 0), "due": due if files.get(reason) else 0} for reason in REASONS}
    ingest = {"waiting": waiting, "searching": searching, "alive": alive, "failed": 0}
    return {"archive": "/a", "open_for_writing": writers, "ingest": ingest}


def waited(monkeypatch: pytest.MonkeyPatch, *polls: Any) -> tuple[dict[str, Any], list[Any]]:
    """What a wait returns, and what it did: the figures that it saw, and requests."""
    left = list(polls)
    seen: list[Any] = []

    def shown(_: Path) -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(archiving, "mount_facts", shown)
    monkeypatch.setattr(archiving, "settle_now", lambda _: seen.append(REQUEST))
    monkeypatch.setattr("time.sleep", lambda _: None)
    return wait_until_archived(Path("/mnt"), seen.append), seen


NOTHING = figures()


@pytest.mark.parametrize(
    "busy",
    [
        figures(settling=1),
        figures(ingesting=1),
        figures(searching=True),
        figures(retry=1, due=1),
        figures(gain=2, due=2),
        figures(writers=1),
        figures(unfinished=1, writers=1, open=1),
    ],
)
def test_what_proceeds_or_is_open_is_waited_for(monkeypatch: pytest.MonkeyPatch, busy: Any) -> None:
    _, seen = waited(monkeypatch, NOTHING, busy, busy, NOTHING)
    assert seen == [NOTHING, busy, busy, NOTHING, NOTHING]


def test_what_cannot_proceed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = figures(unfinished=3)
    ingest, seen = waited(monkeypatch, stuck)
    assert (ingest, seen, left_plain(ingest)) == (stuck["ingest"], [stuck, stuck], 0)


def test_movies_that_wait_for_a_time_to_pass_are_tried_once_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    full = figures(retry=1, gain=1)
    ingest, seen = waited(monkeypatch, full, figures(ingesting=2), full)
    assert [one == REQUEST for one in seen] == [False, True, False, False, False]
    assert left_plain(ingest) == 2


def test_they_are_tried_again_after_another_movie_came(monkeypatch: pytest.MonkeyPatch) -> None:
    full = figures(retry=1)
    _, seen = waited(monkeypatch, full, full, figures(retry=1, settling=1), full)
    assert seen.count(REQUEST) == 2


def test_read_only_mounts_need_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, {"archive": "/a"}) == ({}, [])


def test_a_mount_that_archives_no_more_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MountError, match=r"archiving has ended .* cryofs ingest /a"):
        waited(monkeypatch, figures(settling=1, alive=False))
