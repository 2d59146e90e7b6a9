"""Movies in order, as verification and extraction read them: all bytes, all frames counted, the damaged frame named."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.archive.frame_stream import checked_frames, original_bytes
from cryofs.archive.verify import feed
from cryofs.errors import DamagedError
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.gain_library import GainLibrary
from tests.corpus.record_mutants import with_record
from tests.support import archive

FRAMES = 300


@pytest.fixture(name="movie", params=[(60, 64), (400, 400)], ids=["in runs", "one by one"])
def archived(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, bytes]:
    """An archived movie and its bytes; frames of 7,680 bytes are small, frames of 320,000 are not."""
    shape = (FRAMES if request.param == (60, 64) else 5, *request.param)
    frames = np.random.default_rng(0).poisson(2, shape).astype(np.uint16)
    (tmp_path / "session").mkdir()
    path = tmp_path / "session" / "movie.mrc"
    path.write_bytes(header(shape, 6) + frames.tobytes() + b"more")
    archive(tmp_path / "session", tmp_path / "archive")
    return tmp_path / "archive" / "movie.mrc.tif", path.read_bytes()


def test_all_bytes_in_order(movie: tuple[Path, bytes]) -> None:
    with ArchivedMovie(movie[0], GainLibrary()) as opened:
        assert b"".join(map(bytes, original_bytes(opened))) == movie[1]
        frames = list(checked_frames(opened))
        assert len(frames) == opened.layout.frames
        for index in (0, opened.layout.frames - 1):
            assert np.array_equal(frames[index], opened.mrc_frame(index))


def test_each_frame_counts_once(movie: tuple[Path, bytes]) -> None:
    taken = bytearray()
    counted: list[int] = []
    with ArchivedMovie(movie[0], GainLibrary()) as opened:
        feed(opened, taken.extend, counted.append)
        assert sum(counted) == opened.layout.frames
    assert taken == movie[1]


def test_a_damaged_frame_is_named(movie: tuple[Path, bytes]) -> None:
    path, _ = movie
    path.write_bytes(with_record(path.read_bytes(), lambda plain: plain["frames"][3].update(sum="0" * 32)))
    with ArchivedMovie(path, GainLibrary()) as opened, pytest.raises(DamagedError, match="frame 3: damaged"):
        feed(opened, lambda _: None, lambda _: None)
