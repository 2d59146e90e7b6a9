"""When estimates of waiting movies become references, and what becomes of the movies."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import Detector, header
from cryofs.gain import waiting_estimates
from cryofs.ingest.make_references import Answer, MakeReferences, Patience, Request
from cryofs.movies.gain_library import load_reference, reference_sha256
from tests.support import simulated

DETECTORS = [Detector.make((64, 60), defects=4, seed=seed) for seed in range(2)]
ENDLESS = Patience(movies=100, seconds=1e6)


def movies(folder: Path, count: int, frames: int, gain: int = 0) -> tuple[Path, ...]:
    return tuple(
        simulated(folder / f"{gain}-{seed}.mrc", frames, seed=seed, detector=DETECTORS[gain]) for seed in range(count)
    )


def answered(archive: Path, places: tuple[Path, ...], patience: Patience = ENDLESS, *, at_once: bool = False) -> Answer:
    return MakeReferences(archive, 1, patience)(Request(places, at_once), lambda _: None)


def assert_is(reference: Path, gain: int = 0) -> None:
    """Assert that a reference equals the gain of a detector at all pixels except defects."""
    found, expected = (
        np.delete(one, DETECTORS[gain].defects) for one in (load_reference(reference).gain, DETECTORS[gain].gain)
    )
    assert np.array_equal(found, expected)


def test_an_estimate_settles_with_the_movies_that_come(tmp_path: Path) -> None:
    places = movies(tmp_path, 8, 6)
    for count in range(1, 9):
        answer = answered(tmp_path, places[:count])
        if answer.fitting:
            break
        assert (answer.without, answer.notes) == ((), ())
        assert answer.due == pytest.approx(places[count - 1].stat().st_ctime + 1e6)
    assert 3 <= count < 8
    assert answer.fitting == places[:count]
    assert answer.due is None
    assert_is(tmp_path / "gain-reference.mrc")
    assert f"gain estimated from {count} movies" in answer.notes[0]
    assert "(settled): 4 of 3840 pixels without a gain (defects), #Changed 0 in the last frame" in answer.notes[0]
    assert not (tmp_path / ".cryofs-gain").exists()


@pytest.mark.parametrize(
    ("patience", "at_once", "reason"),
    [
        (Patience(movies=3, seconds=1e6), False, "3 movies wait"),
        (Patience(movies=100, seconds=0), False, "no further movie for 0 min"),
        (ENDLESS, True, "requested"),
    ],
)
def test_a_reference_from_few_movies(tmp_path: Path, patience: Patience, at_once: bool, reason: str) -> None:
    places = movies(tmp_path, 3, 3)
    assert answered(tmp_path, places[:2]).fitting == ()
    answer = answered(tmp_path, places, patience, at_once=at_once)
    assert answer.fitting == places
    assert f"from 3 movies, 9 frames ({reason}): " in answer.notes[0]
    assert "#Unreliable 3840 (fewer than 50 agreeing values)" in answer.notes[0]


def test_a_new_gain_gets_its_own_reference(tmp_path: Path) -> None:
    first, second = movies(tmp_path, 3, 12, 0), movies(tmp_path, 3, 12, 1)
    answer = answered(tmp_path, (first[0], second[0], first[1], second[1], first[2]))
    assert answer.fitting == first
    assert answer.due is not None
    answer = answered(tmp_path, second)
    assert answer.fitting == second
    assert_is(tmp_path / "gain-reference.mrc", 0)
    (other,) = tmp_path.glob("gain-reference-*.mrc")
    assert other.name == f"gain-reference-{reference_sha256(other)[:8]}.mrc"
    assert_is(other, 1)


def test_frames_of_another_size_get_their_own_reference(tmp_path: Path) -> None:
    small = simulated(tmp_path / "small.mrc", 6, detector=Detector.make((32, 30), defects=2))
    places = (*movies(tmp_path, 1, 6), small)
    answer = answered(tmp_path, places, at_once=True)
    assert answer.fitting == places
    assert len(list(tmp_path.glob("gain-reference*.mrc"))) == 2


def test_values_without_a_common_gain_get_no_reference(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(6, 64, 60)).astype("<f4")
    (tmp_path / "real.mrc").write_bytes(header(values.shape, 2) + values.tobytes())
    places = movies(tmp_path, 1, 6)
    answer = answered(tmp_path, (*places, tmp_path / "real.mrc", tmp_path / "missing.mrc"))
    assert (answer.fitting, answer.without) == ((), (tmp_path / "real.mrc",))
    assert not list(tmp_path.glob("gain-reference*.mrc"))


def test_a_reference_that_another_program_brought_is_used(tmp_path: Path) -> None:
    places = movies(tmp_path, 1, 6)
    answered(tmp_path, places)
    (tmp_path / "gain-reference.mrc").write_bytes(header((1, 64, 60), 2) + DETECTORS[0].gain.tobytes())
    answer = answered(tmp_path, places, at_once=True)
    assert (answer.fitting, answer.notes) == (places, ())
    assert len(list(tmp_path.glob("gain-reference*.mrc"))) == 1


def test_an_estimate_of_removed_movies_is_removed(tmp_path: Path) -> None:
    answered(tmp_path, movies(tmp_path, 1, 6))
    assert (tmp_path / ".cryofs-gain").exists()
    answered(tmp_path, ())
    assert not (tmp_path / ".cryofs-gain").exists()


def test_without_room_for_the_state_the_reference_is_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(waiting_estimates, "save", full)
    places = movies(tmp_path, 2, 3)
    answer = answered(tmp_path, places)
    assert answer.fitting == places
    assert "the disk is full" in answer.notes[0]


def test_the_newest_movie_decides_how_long_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = movies(tmp_path, 2, 3)
    newest = max(place.stat().st_ctime for place in places)
    monkeypatch.setattr(time, "time", lambda: newest + 899)
    assert answered(tmp_path, places, Patience()).due == newest + 900
    monkeypatch.setattr(time, "time", lambda: newest + 900)
    assert answered(tmp_path, places, Patience()).fitting == places
