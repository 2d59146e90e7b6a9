"""Every kind of movie that occurs comes back byte for byte, by extraction and by reading frames."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import cryofs
from benchmarks.simulate import header
from cryofs.archive.extract import extract
from cryofs.archive.verify import verify
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.plan import Coding
from tests.support import DETECTOR, REAL_DATA, archive, movie_values, same_tree

RNG = np.random.default_rng(0)
SMALL = (3, 20, 33)


def mrc(values: NDArray[Any], mode: int, byte_order: str = "<", tail: bytes = b"", **fields: bytes) -> bytes:
    shape: Any = values.shape
    ordered = values.astype(values.dtype.newbyteorder(byte_order))  # type: ignore[arg-type]
    return header(shape, mode, byte_order=byte_order, **fields) + ordered.tobytes() + tail  # type: ignore[arg-type]


def special_values() -> NDArray[np.float32]:
    values = movie_values(seed=1)
    values[3, 5, 7] = np.nan
    values[4, 0, 0] = np.inf
    values[4, 1, 1] = -np.inf
    values[5, -1, -1] = -0.0
    values[6, 2, 3] = 1e-42
    values[7, 1] = -3.5
    values.view(np.uint32)[8, 0, 5] = 0x7FA00001  # a signalling NaN with a payload
    return values


def float16_oddities() -> NDArray[np.float16]:
    values = RNG.normal(size=SMALL).astype(np.float16)
    values.view(np.uint16)[0, 0, :4] = [0x7C01, 0xFE03, 0x8000, 1]
    return values


def hot_pixels() -> NDArray[np.float32]:
    hot: NDArray[np.float32] = np.where(RNG.random((12, *DETECTOR.gain.shape)) < 1e-4, 300, 1).astype(np.float32)
    return hot * movie_values(seed=8)


MOVIES: dict[str, bytes] = {
    "normal": mrc(movie_values(), 2),
    "special": mrc(special_values(), 2),
    "big_endian": mrc(movie_values(seed=2), 2, ">"),
    "fei1": mrc(movie_values(seed=3), 2, extended=os.urandom(786432), kind=b"FEI1"),
    "fei2": mrc(movie_values(seed=4), 2, ">", extended=os.urandom(909312), kind=b"FEI2"),
    "seri": mrc(movie_values(seed=5), 2, extended=os.urandom(48), kind=b"SERI", tail=os.urandom(12345)),
    "one_frame": mrc(movie_values(1), 2),
    "wrong_gain": mrc(movie_values(seed=7) * RNG.uniform(0.5, 2, DETECTOR.gain.shape).astype(np.float32), 2),
    "noise": mrc(RNG.normal(size=(5, 40, 33)).astype(np.float32), 2),
    "one_pixel": mrc(RNG.poisson(2, (6, 1, 1)).astype(np.float32), 2),
    "zeros": mrc(np.zeros((3, 50, 60), np.float32), 2),
    "whole_floats": mrc(RNG.poisson(3, SMALL).astype(np.float32), 2),
    "hot_pixels": mrc(hot_pixels(), 2),
    "int8": mrc(RNG.integers(-128, 128, SMALL).astype(np.int8), 0),
    "int16": mrc(RNG.integers(-32768, 32768, SMALL).astype(np.int16), 1, ">"),
    "int16_counts": mrc(RNG.poisson(200, (4, 50, 60)).astype(np.int16), 1),
    "uint16": mrc(RNG.integers(0, 65536, SMALL).astype(np.uint16), 6),
    "float16": mrc(RNG.poisson(1.4, SMALL).astype(np.float16), 12),
    "float16_odd": mrc(float16_oddities(), 12, ">"),
    "4bit": header((3, 20, 32), 101) + os.urandom(3 * 20 * 16),
    "4bit_odd_width": header((3, 20, 33), 101) + os.urandom(3 * 20 * 17),
    "long_tail": mrc(np.zeros((1, 5, 6), np.float32), 2, tail=os.urandom(1000) + bytes(17 << 20)),
}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of movies to estimate the gain from, and its archive beside it."""
    session = tmp_path_factory.mktemp("others") / "session"
    session.mkdir()
    for number in range(2):
        (session / f"other-{number}.mrcs").write_bytes(mrc(movie_values(20, seed=90 + number), 2))
    summary, reported = archive(session, session.with_name("archive"))
    assert (summary.movies, reported.errors) == (2, {})
    return session


def check_round_trip(folder: Path, others: Path, data: bytes, coding: Coding = Coding()) -> None:  # noqa: B008 - immutable
    session = Path(shutil.copytree(others, folder / "session"))
    shutil.copytree(others.with_name("archive"), folder / "archive")
    (session / "movie.mrc").write_bytes(data)
    options = CompressOptions(coding=coding, only_do_unfinished=True, jobs=2)
    summary, reported = archive(session, folder / "archive", options)
    assert (summary.movies, summary.skipped) == (1, 2)
    assert not reported.errors
    assert reported.counted_frames == reported.expected_frames

    errors: list[Exception] = []
    extract(
        [folder / "archive"], folder / "restored", 2, lambda _, e: errors.append(e) if e else None, _ignore, _ignore
    )
    assert not errors
    same_tree(session, folder / "restored")
    assert verify([folder / "archive"], 2, _ignore, _ignore, _ignore).failed == 0


def _ignore(*_: object) -> None:
    pass


@pytest.mark.parametrize("kind", MOVIES)
def test_every_kind_of_movie_comes_back(tmp_path: Path, others: Path, kind: str) -> None:
    check_round_trip(tmp_path, others, MOVIES[kind])


@pytest.mark.parametrize("kind", ["special", "noise", "int16", "4bit_odd_width", "float16_odd"])
@pytest.mark.parametrize(
    "coding",
    [Coding("lzw"), Coding("deflate"), Coding("deflate", deflate_level=9), Coding("none"), Coding(line_by_line=True)],
    ids=["lzw", "deflate", "deflate9", "none", "line_by_line"],
)
def test_every_codec_gives_the_movie_back(tmp_path: Path, others: Path, kind: str, coding: Coding) -> None:
    check_round_trip(tmp_path, others, MOVIES[kind], coding)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real camera files are not here")
@pytest.mark.parametrize("path", sorted(REAL_DATA.rglob("*.mrc")), ids=lambda path: path.name)
def test_real_camera_files_come_back(tmp_path: Path, others: Path, path: Path) -> None:
    check_round_trip(tmp_path, others, path.read_bytes())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([0, 1, 2, 6, 12, 101]),
    st.sampled_from("<>"),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.data(),
)
def test_any_bytes_come_back(
    tmp_path_factory: pytest.TempPathFactory, mode: int, order: str, frames: int, ny: int, nx: int, data: st.DataObject
) -> None:
    row = (nx + 1) // 2 if mode == 101 else nx * {0: 1, 1: 2, 2: 4, 6: 2, 12: 2}[mode]
    size = frames * ny * row
    body = data.draw(st.binary(min_size=size, max_size=size + 7))
    extended = data.draw(st.binary(max_size=9))
    folder = tmp_path_factory.mktemp("any")
    movie = folder / "movie.mrc"
    movie.write_bytes(header((frames, ny, nx), mode, byte_order=order, extended=extended) + body)
    _, reported = archive(movie, folder / "archive")
    assert not reported.errors
    extract([folder / "archive"], folder / "restored", 1, _ignore, _ignore, _ignore)
    assert (folder / "restored" / "movie.mrc").read_bytes() == movie.read_bytes()


def test_python_reads_what_was_archived(tmp_path: Path) -> None:
    (tmp_path / "movie.mrc").write_bytes(MOVIES["special"])
    archive(tmp_path / "movie.mrc", tmp_path / "archive")
    with (
        cryofs.open(tmp_path / "movie.mrc") as original,
        cryofs.open(tmp_path / "archive" / "movie.mrc.tif") as archived,
    ):
        assert archived.header == original.header
        assert archived.shape == original.shape
        assert archived.dtype == original.dtype
        for one, other in zip(original.frames(), archived.frames(), strict=True):
            assert np.array_equal(one.view(np.uint32), other.view(np.uint32))
