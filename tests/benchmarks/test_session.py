"""A small session has the rows of a large one, and a wrong byte ends it."""

from pathlib import Path

import pytest

from benchmarks import session
from benchmarks.competitors import OURS
from benchmarks.session import WITHOUT, Plan, hold_session, make_sources
from tests.privileges import CAN_USE_FUSE

PLAN = Plan(movies=6, frames=6, shape=(256, 240), interval=0.05, settle=0.0, corrected=0)


def test_movies_of_a_session_differ(tmp_path: Path) -> None:
    sources = make_sources(tmp_path, PLAN)
    held = session._Session(tmp_path, sources, PLAN, 0.0)
    movies = [b"".join(held._blocks(number)) for number in range(PLAN.movies)]
    assert len(set(movies)) == PLAN.movies
    assert {len(movie) for movie in movies} == {sources[0].stat().st_size}
    # the gain changes in the middle
    assert [held._source(number).name[0] for number in range(PLAN.movies)] == list("000111")


@pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
@pytest.mark.mounted
def test_every_byte_is_right_while_movies_are_archived(tmp_path: Path) -> None:
    readings = hold_session(tmp_path, PLAN, [])
    assert {reading.way for reading in readings} == {OURS, WITHOUT}
    values = {(reading.what, reading.way): reading.values for reading in readings}
    assert len(values["reading each movie as it arrives", OURS]) == PLAN.movies
    assert values["movies that wait to be archived, most", OURS][0] > 0
    assert not (tmp_path / "session").exists()


@pytest.mark.skipif(not CAN_USE_FUSE, reason="needs fuse3, /dev/fuse and the right to mount")
@pytest.mark.mounted
def test_a_wrong_byte_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = session._Session._check

    def changed(held: session._Session, number: int) -> tuple[int, float]:
        if number == 2:
            with (tmp_path / "session" / "mount" / "movie-002.mrc").open("r+b") as file:
                file.seek(5000)
                file.write(b"wrong")
        return check(held, number)

    monkeypatch.setattr(session._Session, "_check", changed)
    held = session._Session(tmp_path / "session", make_sources(tmp_path, PLAN), PLAN, 86400)
    with pytest.raises(SystemExit, match=r"movie-002\.mrc: wrong bytes from offset 0"):
        held.hold(is_archiving=False)
