"""The table of movies that wait to be archived."""

import math
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
    waiting.wait(nothing)
    assert waiting.take(math.inf) == movie


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
    assert waiting.take(math.inf) == movie


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
    assert waiting.take(math.inf) == movie


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
    waiting.wait(lambda: [movie])
    assert waiting.take(math.inf) == movie
    waiting.search_again(0)
    other = movie.with_name("b.mrc")
    other.touch()
    waiting.wait(lambda: [movie, other])
    assert waiting.take(math.inf) == other
    # the first is still taken
    assert waiting.take(math.inf) is None


def test_stop_ends_the_wait() -> None:
    waiting = WaitingMovies(3600)
    ends: list[BaseException] = []

    def take() -> None:
        try:
            waiting.wait(nothing)
        except StoppedError as error:
            ends.append(error)

    thread = Thread(target=take)
    thread.start()
    waiting.stop()
    thread.join(30)
    assert len(ends) == 1


def test_movies_come_in_the_order_in_which_they_are_due(tmp_path: Path) -> None:
    waiting = WaitingMovies(3600)
    movies = [tmp_path / f"{number}.mrc" for number in range(500)]
    for movie in movies:
        movie.touch()
        waiting.put(movie, 0)
        # entries that another one replaces
        waiting.put(movie, 0)
    assert [waiting.take(math.inf) for _ in movies] == movies
    assert waiting.take(math.inf) is None


def test_movies_without_room_wait_until_there_is_some(tmp_path: Path) -> None:
    waiting = WaitingMovies(3600)
    movies = {size: tmp_path / f"{size}.mrc" for size in (30000, 10000, 20000)}
    for size, movie in movies.items():
        movie.write_bytes(bytes(size))
        waiting.put(movie, 0)
    assert waiting.largest() == 30000
    assert waiting.take(10000) == movies[10000]
    assert waiting.take(10000) is None
    assert [movie.why for movie in waiting.snapshot().values()].count(Why.ROOM) == 2
    # the smallest first
    assert waiting.take(math.inf) == movies[20000]
    # one that is written meanwhile
    waiting.put(movies[30000], 0)
    assert waiting.take(math.inf) == movies[30000]
    assert waiting.take(math.inf) is None
    movies[30000].unlink()
    assert waiting.largest() == 20000
    waiting.wait_on(movies[20000], Why.UNFINISHED, None)
    assert waiting.largest() == 10000
