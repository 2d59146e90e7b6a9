"""Random operations on movies of a mount that archives them at once, compared with those on a plain folder."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.mounted.storing import movie, storing, wait_for
from tests.mounted.support import NEEDS_MOUNTS
from tests.mounted.test_writing_model import Writing, run

pytestmark = NEEDS_MOUNTS
MOVIES = st.sampled_from(["c.mrc", "d/c.mrc", "d.mrc"])


class Storing(Writing):
    """Operations on movies, some of which are archived movies at that moment."""

    # archiving a movie changes its folder
    folder_times = False

    @initialize(seed=st.integers(0, 3))
    def begins_with_an_archived_movie(self, seed: int) -> None:
        self.writes_a_movie("c.mrc", seed)
        stored = self.mount.with_name("archive") / self.both.places[0].name
        wait_for((stored / "c.mrc.tif").exists)

    @rule(path=MOVIES, seed=st.integers(0, 3))
    def writes_a_movie(self, path: str, seed: int) -> None:
        self.both.call(lambda place: place.write_bytes(movie(seed)), path)

    @rule()
    def waits(self) -> None:
        time.sleep(0.2)

    @rule(path=MOVIES, to=MOVIES)
    def renames_a_movie(self, path: str, to: str) -> None:
        self.both.call(lambda one, other: one.rename(other) and None, path, to)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A mount of an empty archive that archives at once, and a plain folder."""
    base = tmp_path_factory.mktemp("storing")
    with storing(base) as place:
        yield place.mount, place.plain
    assert list(place.archive.iterdir()) == []


def test_random_operations_equal_those_on_a_plain_folder(folders: tuple[Path, Path]) -> None:
    run(folders, 6, 25, Storing)


@pytest.mark.slow
def test_many_random_operations_equal_those_on_a_plain_folder(folders: tuple[Path, Path]) -> None:
    run(folders, 300, 60, Storing)
