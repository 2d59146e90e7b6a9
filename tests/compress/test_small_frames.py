"""Movies of small frames, which are encoded and checked in runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import write_frames
from cryofs.compress import encode
from cryofs.compress.movie_task import CompressOptions
from cryofs.movies.registry import open_movie
from tests.support import archive, names

FRAMES, SHAPE = 40, (30, 33)
PLAIN = CompressOptions(gain="none", jobs=1)


def patterns(path: Path, mode: int, dtype: str, exception: int | None = None) -> bytes:
    """Write a movie of counts, with a value too large for one byte in one frame; return its bytes."""
    frames = np.random.default_rng(3).poisson(2, (FRAMES, *SHAPE)).astype(dtype)
    if exception is not None:
        frames[exception, 4, 5] = 1000
    write_frames(path, iter(frames), frames.shape, mode)
    return path.read_bytes()


@pytest.mark.parametrize(("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2")])
@pytest.mark.parametrize("exception", [None, 0, FRAMES - 1])
def test_every_byte_is_kept(tmp_path: Path, mode: int, dtype: str, exception: int | None) -> None:
    data = patterns(tmp_path / "x.mrc", mode, dtype, None if dtype == "i1" else exception)
    _, reported = archive(tmp_path / "x.mrc", tmp_path / "archive", PLAIN)
    assert not reported.errors
    with open_movie(tmp_path / "archive" / "x.mrc.tif") as movie:
        assert movie.header + b"".join(movie.mrc_frame(index).tobytes() for index in range(FRAMES)) == data


@pytest.mark.parametrize("exception", [None, 11])
def test_the_frame_that_was_written_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exception: int | None
) -> None:
    patterns(tmp_path / "x.mrc", 6, "u2", exception)
    encode_strips, calls = encode._encode_strips, iter(range(10**6))

    def faulty(plan: Any, pixels: NDArray[Any]) -> list[bytes]:
        if next(calls) == 17:
            pixels = pixels + pixels.dtype.type(1)
        return encode_strips(plan, pixels)

    monkeypatch.setattr(encode, "_encode_strips", faulty)
    _, reported = archive(tmp_path / "x.mrc", tmp_path / "archive", PLAIN)
    assert "frame 17: checksum mismatch after writing" in str(reported.errors[tmp_path / "x.mrc"])
    assert names(tmp_path / "archive") == []
