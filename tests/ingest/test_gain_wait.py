"""Movies that wait for a gain reference: the requests to the worker process."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.simulate import header
from cryofs.errors import GainError
from cryofs.ingest.gain_wait import GainWait
from cryofs.ingest.make_references import Answer, Patience, Request
from cryofs.storage.file_state import state_of
from tests.support import DETECTOR, simulated


class Worker:
    """A worker process that gives prepared answers, by default none."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Answer] = lambda request: Answer((), (), time.time() + 900)

    def __call__(self, request: Request, patience: Patience) -> Answer:
        self.requests.append(request)
        return self.answer(request)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def gain(tmp_path: Path, worker: Worker, notes: list[str]) -> GainWait:
    return GainWait(tmp_path, worker, notes.append)


def waiting(gain: GainWait, path: Path, frames: int = 3) -> Path:
    gain.add(simulated(path, frames, seed=len(path.name)))
    return path


def holds(gain: GainWait, path: Path) -> bool:
    return gain.holds(path, state_of(path.lstat()))


def test_a_movie_that_waits_is_given_to_the_worker_once(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    one = waiting(gain, tmp_path / "a.mrc")
    assert gain.seconds_left() is not None
    assert gain.update() == []
    assert worker.requests == [Request((one,), at_once=False)]
    for _ in range(3):
        assert gain.update() == []
        assert holds(gain, one)
        gain.add(one)
    assert len(worker.requests) == 1
    other = waiting(gain, tmp_path / "bb.mrc")
    gain.update()
    assert worker.requests[1:] == [Request((one, other), at_once=False)]


def test_movies_that_a_new_reference_fits_are_released(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    one, other = waiting(gain, tmp_path / "a.mrc"), waiting(gain, tmp_path / "bb.mrc")

    def answer(_: Request) -> Answer:
        shutil.copy(one, tmp_path / "gain-reference.mrc")
        return Answer((one,), (), time.time() + 900, ("gain-reference.mrc",))

    worker.answer = answer
    assert gain.update() == [one]
    assert (one in gain, other in gain, len(gain)) == (False, True, 1)
    # the new reference does not fit the other one, which is known
    assert holds(gain, other)
    assert gain.update() == []


def test_a_reference_of_another_program_that_arrives_meanwhile(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    one = waiting(gain, tmp_path / "a.mrc")

    def answer(_: Request) -> Answer:
        shutil.copy(one, tmp_path / "gain-reference.mrc")
        return Answer((), (), time.time() + 900)

    worker.answer = answer
    assert gain.update() == []
    assert gain.update() == [one]


def test_movies_without_a_gain_are_stored_as_they_are(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    one = waiting(gain, tmp_path / "a.mrc")
    worker.answer = lambda _: Answer((), (one,), None)
    assert gain.update() == [one]
    assert gain.without_gain() == {one}
    simulated(one, 4)
    assert gain.without_gain() == frozenset()


def test_references_from_what_waits_on_request(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    gain.settle_now()
    one = waiting(gain, tmp_path / "a.mrc")
    gain.update()
    gain.settle_now()
    gain.update()
    gain.update()
    assert worker.requests == [Request((one,), at_once=False), Request((one,), at_once=True)]


def test_a_request_is_for_movies_that_the_first_reference_does_not_fit_too(
    tmp_path: Path, gain: GainWait, worker: Worker
) -> None:
    one, other = waiting(gain, tmp_path / "a.mrc"), waiting(gain, tmp_path / "bb.mrc")
    gain.settle_now()
    worker.answer = lambda _: Answer((one,), (), time.time(), ("gain-reference.mrc",))
    assert gain.update() == [one]
    worker.answer = lambda _: Answer((), (other,), None)
    assert gain.update() == [other]
    assert worker.requests == [Request((one, other), at_once=True), Request((other,), at_once=True)]
    assert gain.seconds_left() is None


def test_a_reference_is_due_without_further_movies(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    one = waiting(gain, tmp_path / "a.mrc")
    worker.answer = lambda _: Answer((), (), 1.0)
    gain.update()
    left = gain.seconds_left()
    assert left is not None
    assert left < 0
    worker.answer = lambda _: Answer((one,), (), None)
    assert gain.update() == [one]
    assert gain.seconds_left() is None


def test_a_reference_of_another_program_releases_what_waits(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    one = waiting(gain, tmp_path / "Movies" / "a.mrc")
    gain.update()
    (tmp_path / "Movies" / "gain-reference.mrc").write_bytes(header((1, *DETECTOR.shape), 2) + DETECTOR.gain.tobytes())
    assert not holds(gain, one)
    assert gain.update() == [one]
    # it was tried, and does not fit
    gain.add(one)
    assert holds(gain, one)
    assert gain.update() == []
    assert len(worker.requests) == 1


def test_an_error_of_the_worker_is_noted_and_tried_again_later(
    tmp_path: Path, gain: GainWait, worker: Worker, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(gain, tmp_path / "a.mrc")

    def fail(_: Request) -> Answer:
        raise GainError("no room")

    worker.answer = fail
    assert gain.update() == []
    assert "gain not estimated (no room)" in notes[0]
    gain.update()
    assert len(worker.requests) == 1
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    gain.update()
    assert len(worker.requests) == 2


def test_removed_movies_do_not_wait(tmp_path: Path, gain: GainWait, worker: Worker) -> None:
    waiting(gain, tmp_path / "a.mrc").unlink()
    simulated(waiting(gain, tmp_path / "bb.mrc"), 4)
    gain.update()
    assert len(gain) == 0
    assert worker.requests == []


@pytest.mark.parametrize("reason", ["many", "old", "requested"])
def test_movies_with_too_few_frames_for_an_estimate(
    tmp_path: Path, gain: GainWait, worker: Worker, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    places = [waiting(gain, tmp_path / f"{n}.mrc", frames=2) for n in range(8 if reason == "many" else 1)]
    if reason == "old":
        later = time.time() + 901
        monkeypatch.setattr(time, "time", lambda: later)
    elif reason == "requested":
        assert gain.update() == []
        gain.settle_now()
    assert gain.update() == places
    assert gain.without_gain() == frozenset(places)
    assert worker.requests == []


def test_estimates_that_an_earlier_process_left_are_removed(tmp_path: Path, gain: GainWait) -> None:
    (tmp_path / ".cryofs-gain").mkdir()
    (tmp_path / ".cryofs-gain" / "gain-estimate.npz").write_bytes(b"left")
    gain.update()
    assert list(tmp_path.iterdir()) == []
