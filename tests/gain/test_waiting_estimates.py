"""Estimates of the gains of movies that wait: each movie is read once, also by later processes."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulate import Detector, header, write_movie
from cryofs.gain.estimation import Estimation
from cryofs.gain.waiting_estimates import WaitingEstimates, remove_estimates
from cryofs.movies.mrc import MrcMovie
from tests.support import simulated

DETECTORS = [Detector.make((64, 60), defects=4, seed=seed) for seed in range(2)]


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of movies of which blocks of rows were read."""
    found: list[str] = []
    stack = MrcMovie.stack

    def counted(movie: MrcMovie, *rows: Any) -> Any:
        found.append(movie.path.name)
        return stack(movie, *rows)

    monkeypatch.setattr(MrcMovie, "stack", counted)
    return found


def opened(archive: Path, pool: Executor) -> WaitingEstimates:
    return WaitingEstimates(archive, pool, lambda _: None)


def add(estimates: WaitingEstimates, path: Path) -> Estimation | None:
    with MrcMovie(path) as movie:
        return estimates.of(movie.name, movie.state) or estimates.add(movie)


def movie(path: Path, gain: int = 0, frames: int = 6, seed: int = 0) -> Path:
    return simulated(path, frames, seed=seed, detector=DETECTORS[gain])


def test_the_state_is_continued_and_movies_are_read_once(tmp_path: Path, pool: Executor, stacks: list[str]) -> None:
    archive = tmp_path / "archive"
    one = movie(archive / "Movies" / "a.mrc")
    estimates = opened(archive, pool)
    assert add(estimates, one) is estimates.estimates[0]
    assert set(stacks) == {"a.mrc"}
    estimates.save()
    # the folder of the archive has another path for the next process
    archive = archive.rename(tmp_path / "moved")
    stacks.clear()
    later = opened(archive, pool)
    (estimation,) = later.estimates
    assert add(later, archive / "Movies" / "a.mrc") is estimation
    assert stacks == []
    assert add(later, movie(archive / "b.mrc", seed=1)) is estimation
    assert set(stacks) == {"b.mrc"}
    assert estimation.frames_used == 12
    assert [Path(name) for name in estimation.movies_used] == [archive / "Movies" / "a.mrc", archive / "b.mrc"]


def test_a_movie_that_changed_is_read_again(tmp_path: Path, pool: Executor, stacks: list[str]) -> None:
    estimates = opened(tmp_path, pool)
    add(estimates, movie(tmp_path / "a.mrc"))
    stacks.clear()
    add(estimates, movie(tmp_path / "a.mrc", frames=5, seed=1))
    assert stacks
    assert estimates.estimates[0].frames_done == {str(tmp_path / "a.mrc"): 5}


def test_each_gain_and_each_size_has_an_estimate(tmp_path: Path, pool: Executor) -> None:
    estimates = opened(tmp_path, pool)
    first, other, again = (
        add(estimates, movie(tmp_path / f"{n}.mrc", gain, seed=n)) for n, gain in enumerate((0, 1, 0))
    )
    assert first is again is not other
    small = simulated(tmp_path / "small.mrc", 6, detector=Detector.make((32, 30), defects=2))
    assert add(estimates, small) not in (first, other)
    estimates.save()
    assert len(opened(tmp_path, pool).estimates) == 3


def test_movies_without_an_estimate(tmp_path: Path, pool: Executor) -> None:
    estimates = opened(tmp_path, pool)
    values = np.random.default_rng(1).normal(size=(6, 64, 60)).astype("<f4")
    (tmp_path / "real.mrc").write_bytes(header(values.shape, 2) + values.tobytes())
    assert add(estimates, tmp_path / "real.mrc") is None
    assert add(estimates, movie(tmp_path / "short.mrc", frames=2)) is None
    estimates.save()
    assert not (tmp_path / ".cryofs-gain").exists()
    # a short one has a place once there is an estimate
    assert add(estimates, movie(tmp_path / "a.mrc")) is add(estimates, tmp_path / "short.mrc") is not None


def test_values_that_were_rounded_twice_have_an_estimate(tmp_path: Path, pool: Executor) -> None:
    detector = Detector.make((64, 60), defects=4, arithmetic="twice")
    estimates = opened(tmp_path, pool)
    for seed in range(2):
        write_movie(tmp_path / f"{seed}.mrc", detector, 8, seed=seed)
    assert add(estimates, tmp_path / "0.mrc") is add(estimates, tmp_path / "1.mrc") is not None


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_a_lost_state_costs_another_reading(tmp_path: Path, pool: Executor, stacks: list[str], damage: str) -> None:
    estimates = opened(tmp_path, pool)
    path = movie(tmp_path / "a.mrc")
    add(estimates, path)
    estimates.save()
    (state,) = (tmp_path / ".cryofs-gain").iterdir()
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:-100])
    else:
        state.unlink()
    stacks.clear()
    again = opened(tmp_path, pool)
    assert again.estimates == []
    assert add(again, path) is not None
    assert stacks


def test_what_is_not_needed_is_removed(tmp_path: Path, pool: Executor) -> None:
    estimates = opened(tmp_path, pool)
    for gain in range(2):
        add(estimates, movie(tmp_path / f"{gain}.mrc", gain))
    estimates.save()
    estimates.drop(estimates.estimates[0])
    assert len(opened(tmp_path, pool).estimates) == 1
    estimates.drop(estimates.estimates[0])
    estimates.save()
    assert not (tmp_path / ".cryofs-gain").exists()
    remove_estimates(tmp_path)


def test_an_interrupted_reading_leaves_the_saved_state(tmp_path: Path, pool: Executor) -> None:
    estimates = opened(tmp_path, pool)
    add(estimates, movie(tmp_path / "a.mrc"))
    estimates.save()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(WaitingEstimates(tmp_path, pool, interrupt), movie(tmp_path / "b.mrc", seed=1))
    later = opened(tmp_path, pool)
    assert later.estimates[0].frames_used == 6
    add(later, tmp_path / "b.mrc")
    assert later.estimates[0].frames_used == 12
