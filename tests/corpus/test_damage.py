"""Damaged archives: whatever is broken in a file, reading it gives the original bytes or an error."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofs.archive.archiver import CompressOptions
from cryofs.archive.plan import Coding
from cryofs.archive.verify import verify
from cryofs.detector import lzw
from cryofs.errors import CryofsError, DamagedError
from cryofs.movies.gain import GainLibrary
from cryofs.movies.open import open_movie
from tests.support import archive, movie_values, simulated


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of one movie with every kind of part: exceptions, trailing bytes, a gain reference."""
    folder = tmp_path_factory.mktemp("corpus")
    movie = simulated(folder / "movie.mrc", frames=8)
    values = movie_values(8)
    values[2, 7] = np.nan
    movie.write_bytes(movie.read_bytes()[:1024] + values.tobytes() + b"trailing bytes")
    archive(movie, folder / "archive")
    return folder


def read_whole(path: Path) -> bytes:
    with open_movie(path, GainLibrary()) as movie:
        frames = [movie.raw_frame(index).tobytes() for index in range(movie.layout.frames)]
        tail = movie.read_trailing(1 << 20, 0)
        return movie.header + b"".join(frames) + tail


def check_damaged(place: Path, data: bytes) -> None:
    """Reading a damaged copy gives the original, or an error that names the file."""
    broken = place / "archive" / "broken.mrc.tif"
    broken.write_bytes(data)
    error = ""
    found = b""
    try:
        found = read_whole(broken)
    except CryofsError as caught:
        error = str(caught)
    broken.unlink()
    assert "broken.mrc.tif" in error or found == (place / "movie.mrc").read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bits(place: Path, data: st.DataObject) -> None:
    content = bytearray((place / "archive" / "movie.mrc.tif").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # the ends are drawn as often as all the rest: the record is there
        position = data.draw(
            st.one_of(st.integers(0, len(content) - 1), st.integers(len(content) - 2000, len(content) - 1))
        )
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    check_damaged(place, bytes(content))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_truncated_and_overwritten_files(place: Path, data: st.DataObject) -> None:
    content = (place / "archive" / "movie.mrc.tif").read_bytes()
    start = data.draw(st.integers(4096, len(content) - 1))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(start, len(content))))
    filling = data.draw(st.sampled_from([b"", b"\0", b"\xff"]))
    check_damaged(place, content[:start] + filling * (end - start) + content[end:])


def test_no_decoder_meets_a_damaged_strip(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(place / "movie.mrc", tmp_path / "lzw", CompressOptions(coding=Coding("lzw"), jobs=1))
    path = tmp_path / "lzw" / "movie.mrc.tif"
    content = bytearray(path.read_bytes())
    with open_movie(path) as movie:
        content[movie.record.frames[4].offsets[0] + 20] ^= 0xFF  # type: ignore[attr-defined]
    path.write_bytes(content)
    met: list[bytes] = []
    monkeypatch.setattr(lzw, "decode", lambda stream, _: met.append(stream))
    with open_movie(path) as movie, pytest.raises(DamagedError, match="frame 4"):
        movie.raw_frame(4)
    assert not met
    with open_movie(path) as movie, pytest.raises(DamagedError, match="frame 3"):
        movie.raw_frame(3)
    assert met, "strips that are whole are decoded by what was replaced here"


@pytest.mark.parametrize("part", ["pixels", "page directory", "record"])
def test_verify_finds_damage_in_every_part(place: Path, tmp_path: Path, part: str) -> None:
    target = Path(shutil.copytree(place / "archive", tmp_path / "archive"))
    path = target / "movie.mrc.tif"
    content = bytearray(path.read_bytes())
    with open_movie(path) as movie:
        frame = movie.record.frames[4]  # type: ignore[attr-defined]
    # a page's directory stands right before its strips
    position = {"pixels": frame.offsets[0] + 99, "page directory": frame.offsets[0] - 30, "record": len(content) - 60}[
        part
    ]
    content[position] ^= 0xFF
    path.write_bytes(content)
    errors: list[Exception | None] = []
    verify([target], 1, lambda _, error: errors.append(error), lambda *_: None, lambda _: None)
    assert [type(error) for error in errors] == [DamagedError]


def test_a_record_that_claims_more_is_refused_before_anything_is_allocated(place: Path) -> None:
    # a huge footer claim, its own sum right
    content = (place / "archive" / "movie.mrc.tif").read_bytes()
    check_damaged(place, content[:-32] + b"\xff" * 16 + content[-16:])
