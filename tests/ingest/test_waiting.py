"""The table of movies that wait to be archived."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from cryofs.ingest.waiting import StoppedError, WaitingMovies, Why


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(100))
    return path


def nothing() -> list[Path]:
    return []


def taken(waiting: WaitingMovies, movie: Path) -> None:
    waiting.put(movie, 0)
    assert waiting.take(nothing) == [movie]


def test_a_movie_waits_until_it_is_done(movie: Path) -> None:
    waiting = WaitingMovies(3600)
    taken(waiting, movie)
    entry = waiting.snapshot()[movie]
    assert (entry.size, entry.why, entry.due) == (100, Why.INGESTING, None)
    waiting.done(movie)
    assert waiting.snapshot() == {}


@pytest.mark.parametrize(
    "ending",
    [WaitingMovies.done, lambda waiting, movie: waiting.wait_on(movie, Why.OPEN, None)],
    ids=["done", "wait on"],
)
def test_a_movie_that_changed_while_it_was_taken_is_looked_at_again(
    movie: Path, ending: Callable[[WaitingMovies, Path], None]
) -> None:
    waiting = WaitingMovies(3600)
    taken(waiting, movie)
    waiting.put(movie, 0)
    ending(waiting, movie)
    assert waiting.take(nothing) == [movie]


def test_a_movie_waits_since_the_first_time(movie: Path) -> None:
    waiting = WaitingMovies(3600)
    taken(waiting, movie)
    since = waiting.snapshot()[movie].since
    waiting.wait_on(movie, Why.RETRY, 60)
    assert waiting.snapshot()[movie].since == since


def test_movies_that_wait_for_something_are_woken(movie: Path) -> None:
    waiting = WaitingMovies(3600)
    taken(waiting, movie)
    waiting.wait_on(movie, Why.UNFINISHED, None)
    waiting.wake(Why.OPEN)
    assert waiting.snapshot()[movie].due is None
    waiting.wake(Why.UNFINISHED)
    assert waiting.take(nothing) == [movie]


def test_a_removed_movie_does_not_wait(movie: Path) -> None:
    waiting = WaitingMovies(3600)
    taken(waiting, movie)
    waiting.wait_on(movie, Why.UNFINISHED, None)
    movie.unlink()
    assert waiting.snapshot() == {}
    waiting.wake(Why.UNFINISHED)
    waiting.put(movie, 0)
    assert waiting.snapshot() == {}


def test_a_search_finds_movies_that_do_not_wait_yet(movie: Path) -> None:
    waiting = WaitingMovies(0)
    assert waiting.take(lambda: [movie]) == [movie]
    waiting.search_again(0)
    other = movie.with_name("b.mrc")
    other.touch()
    # the first is still taken
    assert waiting.take(lambda: [movie, other]) == [other]


def test_stop_ends_the_wait() -> None:
    waiting = WaitingMovies(3600)
    ends: list[BaseException] = []

    def take() -> None:
        try:
            waiting.take(nothing)
        except StoppedError as error:
            ends.append(error)

    thread = Thread(target=take)
    thread.start()
    waiting.stop()
    thread.join(30)
    assert len(ends) == 1
