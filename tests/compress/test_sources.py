"""Sources are opened and sampled once in a run, and never confused with files that replaced them."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import Detector, header
from cryofs.archive.jobs import Job, Kind
from cryofs.compress import run, sources
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.sources import Sources
from cryofs.gain.samples import take_samples
from cryofs.movies.mrc import MrcMovie
from tests.support import SHAPE, Reported, archive, assert_verified, restored, same_tree, simulated

_opened: list[str] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        _opened.append(os.fspath(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def audited() -> None:
    sys.addaudithook(_hook)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Names of the files that were opened since the test began."""
    _opened.clear()
    yield _opened
    _opened.clear()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int, int]]:
    """How often rows of movies were read as samples, by name, frame and first row."""
    found: Counter[tuple[str, int, int]] = Counter()
    rows = MrcMovie.rows

    def counted(self: MrcMovie, index: int, first: int, end: int) -> object:
        found[self.name, index, first] += 1
        return rows(self, index, first, end)

    monkeypatch.setattr(MrcMovie, "rows", counted)
    return found


@pytest.mark.parametrize("arithmetic", ["single", "double"])
def test_a_movie_whose_gain_is_estimated_is_opened_and_sampled_once(
    tmp_path: Path, opened: list[str], reads: Counter[tuple[str, int, int]], arithmetic: str
) -> None:
    movie = simulated(tmp_path / "a.mrc", detector=Detector.make(SHAPE, arithmetic=arithmetic))  # type: ignore[arg-type]
    opened.clear()
    _, reported = archive(movie, tmp_path / "archive")
    assert not reported.errors
    assert opened.count(str(movie)) == 1
    assert set(reads.values()) == {1}
    assert_verified(tmp_path / "archive", 1)


@pytest.mark.parametrize("gain", ["auto", "none"])
def test_several_movies_are_opened_and_sampled_once_each(
    tmp_path: Path, opened: list[str], reads: Counter[tuple[str, int, int]], gain: str
) -> None:
    session = tmp_path / "session"
    movies = [simulated(session / f"{number}.mrc", seed=number) for number in range(3)]
    other = Detector.make(SHAPE, defects=20, seed=77)
    movies.append(simulated(session / "other.mrc", seed=9, detector=other))
    values = np.random.default_rng(0).poisson(1, (9, 50, 33)).astype("<i2")
    movies.append(session / "counts.mrc")
    movies[-1].write_bytes(header((9, 50, 33), 1) + values.tobytes())
    opened.clear()
    archive(session, tmp_path / "archive", CompressOptions(gain=gain, jobs=2))  # type: ignore[arg-type]
    assert [opened.count(str(movie)) for movie in movies] == [1] * 5
    assert set(reads.values()) == {1}
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))


def test_with_processes_a_movie_is_opened_twice_at_most(tmp_path: Path) -> None:
    session, log = tmp_path / "session", tmp_path / "opens"
    movies = [simulated(session / f"{number}.mrc", seed=number) for number in range(3)]
    command = """
import tests.compress.opens
from cryofs.cli import main
from cryofs.compress import movie_executor
movie_executor._WORTH_PROCESSES = 0
movie_executor._PRELOADED.append("tests.compress.opens")
main()
"""
    arguments = ["compress", str(session), "-o", str(tmp_path / "archive"), "--jobs", "2"]
    environment = os.environ | {"CRYOFS_TEST_OPENS": str(log)}
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    opens = log.read_text().splitlines()
    # each movie by the run and by a worker
    assert [opens.count(str(movie)) for movie in movies] == [2] * 3
    assert_verified(tmp_path / "archive", 3)


def test_a_movie_that_is_done_is_opened_once_and_not_read(
    tmp_path: Path, opened: list[str], reads: Counter[tuple[str, int, int]]
) -> None:
    movie = simulated(tmp_path / "a.mrc")
    archive(movie, tmp_path / "archive")
    opened.clear()
    reads.clear()
    summary, _ = archive(movie, tmp_path / "archive", CompressOptions(only_do_unfinished=True, jobs=2))
    assert summary.skipped == 1
    assert opened.count(str(movie)) == 1
    assert not reads


def job(path: Path) -> Job:
    return Job(Kind.MOVIE, path, Path(path.name + ".tif"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_movies_stay_open_and_all_are_closed_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_OPEN", 3)
    movies = [job(simulated(tmp_path / f"{number}.mrc", 2)) for number in range(6)]
    before = descriptors()
    held = Sources(lambda one: MrcMovie(one.source))
    for one in movies:
        with held.open(one):
            pass
    assert descriptors() == before + 3
    with held.open(movies[0]) as first:
        for one in movies[1:]:
            with held.open(one):
                pass
        # it is in use
        assert first.rows(1, 0, 2).shape[0] == 2
    held.release(movies[5])
    assert descriptors() == before + 2
    held.close()
    assert descriptors() == before


def test_samples_are_limited_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    movies = [job(simulated(tmp_path / f"{number}.mrc", 2)) for number in range(3)]
    monkeypatch.setattr(sources, "_MOST_SAMPLED_BYTES", 2 * 3 * 64 * SHAPE[1] * 4)
    held = Sources(lambda one: MrcMovie(one.source))
    for one in movies:
        with held.open(one) as movie:
            take_samples(movie)
    assert [held.known(one) is not None for one in movies] == [False, True, True]
    held.close()


@pytest.mark.parametrize("is_used", [False, True])
def test_a_file_that_replaced_a_movie_is_opened_anew(tmp_path: Path, is_used: bool) -> None:
    path = simulated(tmp_path / "a.mrc", 2, seed=1)
    later = simulated(tmp_path / "b.mrc", 3, seed=2)
    before = descriptors()
    held = Sources(lambda one: MrcMovie(one.source))
    with held.open(job(path)) as movie:
        assert movie.shape[0] == 2
        if is_used:
            later.replace(path)
            with held.open(job(path)) as now:
                assert now.shape[0] == 3
    if not is_used:
        later.replace(path)
        with held.open(job(path)) as now:
            assert now.shape[0] == 3
    held.close()
    assert descriptors() == before


def test_a_movie_that_is_replaced_before_it_is_stored_is_stored_as_it_is_then(tmp_path: Path) -> None:
    session, path = tmp_path / "session", tmp_path / "session" / "a.mrc"
    simulated(path, 4, seed=1)
    later = simulated(tmp_path / "later.mrc", 5, seed=2)

    class Replacing(Reported):
        def begin(self, movies: int, frames: int) -> None:
            later.replace(path)

    reported = Replacing()
    run.compress([session], tmp_path / "archive", CompressOptions(gain="none", jobs=2, least_saving=-9), reported)
    assert not reported.errors
    same_tree(session, restored(tmp_path / "archive", tmp_path / "restored"))
