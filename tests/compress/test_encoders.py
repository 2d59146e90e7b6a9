"""Ways to encode strips: all of them decode, and a plan takes the fastest of the small ones."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.simulate import Detector, write_frames
from cryofs.codecs import deflate
from cryofs.codecs.codec import Encoder
from cryofs.codecs.registry import all_encoders, codec_named
from cryofs.compress.encoders import candidates
from cryofs.compress.plan import Coding, Plan, make_plan
from cryofs.config.choices import CompressionChoice, NarrowChoice
from cryofs.formats.record import Gain
from cryofs.formats.tiff_pages import PageLayout
from cryofs.gain.references import Reference
from cryofs.gain.samples import Sample, take_samples
from cryofs.kernels import to_counts
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.mrc import MrcMovie

DTYPES = [np.dtype(name) for name in ("u1", "i1", "u2", "i2", "f4")]
WIDE = DTYPES[2:4]
SHAPE = FRAMES, NY, NX = 5, 300, 257
DETECTOR = Detector.make((NY, NX), defects=20)
CHOICES: list[tuple[CompressionChoice, int | None]] = [
    ("auto", None),
    ("lzw", None),
    ("deflate", None),
    ("none", None),
    *(("deflate", level) for level in (1, 6, 9)),
]
choices = pytest.mark.parametrize(("choice", "level"), CHOICES)


@pytest.fixture(name="pool")
def pool_of_two() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def check(candidate: Encoder, strip: NDArray[Any]) -> int:
    """Assert that a strip comes back; return the size of its stream."""
    stream = candidate.encode(strip)
    found = np.empty_like(strip)
    candidate.codec.decode([stream], [found])
    assert found.tobytes() == strip.tobytes(), candidate.name
    return len(stream)


def poisson(mean: float, dtype: np.dtype[Any], shape: tuple[int, ...] = (64, 257)) -> NDArray[Any]:
    return np.random.default_rng(0).poisson(mean, shape).astype(dtype)


def named(name: str, dtype: np.dtype[Any]) -> Encoder:
    return next(one for one in candidates(dtype, "auto", None) if one.name == name)


@st.composite
def strips(draw: st.DrawFn) -> NDArray[Any]:
    """Strips of any bits, and of counts with a few large ones."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 40)))
    size = math.prod(shape) * dtype.itemsize
    if draw(st.booleans()):
        return np.frombuffer(bytearray(draw(st.binary(min_size=size, max_size=size))), dtype).reshape(shape)
    strip = np.random.default_rng(draw(st.integers(0, 999))).poisson(0.3, shape).astype(dtype)
    for place in draw(st.lists(st.integers(0, strip.size - 1), max_size=4)):
        strip.reshape(-1)[place] = draw(st.integers(0, 127))
    return strip


@settings(max_examples=400)
@given(strips(), st.sampled_from(CHOICES))
def test_any_strip_comes_back(strip: NDArray[Any], choice: tuple[CompressionChoice, int | None]) -> None:
    for candidate in candidates(strip.dtype, *choice):
        check(candidate, strip)


@choices
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strips_of_usual_size_come_back(dtype: np.dtype[Any], choice: CompressionChoice, level: int | None) -> None:
    for mean in (0, 0.02, 1.4, 60):
        for candidate in candidates(dtype, choice, level):
            check(candidate, poisson(mean, dtype, (candidate.rows, 257)))


@choices
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_there_is_an_encoder_for_every_choice(
    dtype: np.dtype[Any], choice: CompressionChoice, level: int | None
) -> None:
    found = candidates(dtype, choice, level)
    compressions = {one.codec.compression for one in found}
    assert compressions == ({"lzw", "deflate"} if choice == "auto" else {choice})
    assert len({one.name for one in found}) == len(found), "records name the coder"
    if dtype.kind != "f":
        assert {one.codec.predictor for one in found} == {"none"}


def test_every_encoder_is_tried_on_some_pixels() -> None:
    tried = [one for dtype in DTYPES for one in candidates(dtype, "auto", None)]
    assert {*all_encoders()} - {*tried} == {*candidates(DTYPES[0], "none", None)}


@pytest.mark.parametrize("level", range(1, 10))
def test_a_level_is_taken_at_its_word(level: int) -> None:
    strip = poisson(1.4, np.dtype("u1"))
    (candidate,) = candidates(strip.dtype, "deflate", level)
    assert candidate.encode(strip) == deflate.encode_deflate(strip, level=level)
    assert candidate.name == f"deflate-{level}"


def test_none_stores_pixels_as_they_are() -> None:
    strip = poisson(300, np.dtype("u2"))
    (candidate,) = candidates(strip.dtype, "none", None)
    assert candidate.encode(strip) == strip.tobytes()


@pytest.mark.parametrize("share", [0, 0.0005, 0.0009, 0.0011, 0.01, 0.5, 1])
@pytest.mark.parametrize("mean", [0.02, 1.0])
def test_lzw_is_small_however_many_counts_are_large(share: float, mean: float) -> None:
    rng = np.random.default_rng(1)
    strip = poisson(mean, np.dtype("u1"), (256, 511))
    large = rng.random(strip.shape) < share
    strip[large] = rng.poisson(20, np.count_nonzero(large)) + 8
    assert check(named("lzw", strip.dtype), strip) <= 1.02 * len(imagecodecs.lzw_encode(strip.tobytes()))


def made_plan(layout: PageLayout, candidate: Encoder, coding: Coding) -> Plan:
    return Plan(layout, candidate, coding, None, False, None, 1.0)


@pytest.mark.parametrize(
    ("narrow", "lowest", "highest", "wide"),
    [
        ("exact", 0, 256, "u2"),
        ("exact", -1, 300, "i2"),
        ("exact", -1, 127, "i1"),
        ("auto", 0, 65535, "u2"),
        ("never", -1, 5, "i2"),
    ],
)
def test_another_type_is_encoded_as_suits_it(
    pool: Executor, narrow: NarrowChoice, lowest: int, highest: int, wide: str
) -> None:
    rng = np.random.default_rng(0)
    samples = [Sample(slice(0, NY), rng.poisson(0.3, (NY, NX)).astype(np.int16))]
    first = candidates(np.dtype("u1"), "auto", None)[0]
    narrowest = PageLayout(NY, NX, np.dtype("u2" if narrow == "never" else "u1"), first.codec, first.rows, 1.06)
    plan = made_plan(narrowest, first, Coding(narrow=narrow))
    dtype = plan.dtype_for(lowest, highest)
    assert dtype == np.dtype(wide)
    better = plan.with_dtype(dtype, samples, pool)
    tried = candidates(dtype, "auto", None)
    sizes = {one.name: len(one.encode(samples[0].values[::-1].astype(dtype))) for one in tried}
    assert better.encoder in tried
    assert sizes[better.encoder.name] <= 1.01 * min(sizes.values())
    assert better.layout.dtype == dtype
    assert better.layout.codec == better.encoder.codec
    assert better.layout.rows_per_strip == min(better.encoder.rows, NY)
    assert better.holds(lowest, highest)


def movie_file(path: Path, frames: list[NDArray[Any]], mode: int) -> Path:
    write_frames(path, frames, SHAPE, mode)
    return path


def plan_of(path: Path, pool: Executor, coding: Coding | None = None, reference: Reference | None = None) -> Plan:
    with MrcMovie(path) as movie:
        return make_plan(movie, take_samples(movie), reference, coding or Coding(), pool)


def counts_movie(path: Path, mean: float, mode: int = 0) -> Path:
    dtype = np.dtype({0: "i1", 2: "f4", 6: "u2"}[mode])
    rng = np.random.default_rng(0)
    return movie_file(path, [rng.poisson(mean, (NY, NX)).astype(dtype) for _ in range(FRAMES)], mode)


def of_size(size: int, strip: NDArray[Any]) -> bytes:
    return bytes(size)


def fakes(sizes: list[int]) -> Callable[..., list[Encoder]]:
    """A table of candidates with streams of these sizes."""
    table = [
        Encoder(f"number {number}", codec_named("deflate"), partial(of_size, size), "any", number, 10 + number)
        for number, size in enumerate(sizes)
    ]
    return lambda dtype, choice, level: table


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1000], 0),
        ([1000, 1000], 0),
        ([1009, 1000], 0),
        ([1011, 1000], 1),
        ([1011, 1009, 1000], 1),
        ([1000, 990, 1009], 1),
        ([1000, 991, 900], 2),
        ([5000, 4000, 3000, 2000, 1009, 1000], 4),
        ([1009, 1005, 999, 990], 2),
    ],
    ids=str,
)
def test_the_fastest_within_a_hundredth_of_the_smallest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Executor, sizes: list[int], expected: int
) -> None:
    monkeypatch.setattr("cryofs.compress.plan.candidates", fakes(sizes))
    plan = plan_of(counts_movie(tmp_path / "movie.mrc", 1.4), pool)
    assert plan.encoder.name == f"number {expected}"
    assert plan.layout.rows_per_strip == 10 + expected
    # three samples of 64 rows each
    assert plan.frame_bytes == pytest.approx(sizes[expected] * NY / 64)


def first_small_one(parts: list[NDArray[Any]], tried: list[Encoder]) -> tuple[str, int]:
    sizes = [sum(check(candidate, part) for part in parts) for candidate in tried]
    return next((one.name, size) for one, size in zip(tried, sizes, strict=True) if 100 * size <= 101 * min(sizes))


@pytest.mark.parametrize("line_by_line", [False, True], ids=["strips", "lines"])
@pytest.mark.parametrize("mean", [0.005, 0.02, 0.3, 1.4, 12, 60])
@pytest.mark.parametrize("choice", ["auto", "lzw", "deflate", "none"])
def test_counts_are_measured_with_every_encoder(
    tmp_path: Path, pool: Executor, mean: float, choice: CompressionChoice, line_by_line: bool
) -> None:
    path = counts_movie(tmp_path / "movie.mrc", mean)
    plan = plan_of(path, pool, Coding(choice, line_by_line=line_by_line))
    with MrcMovie(path) as movie:
        pages = [to_counts.narrow(sample.values, np.dtype("u1")).stored for sample in take_samples(movie)]
    parts = [np.ascontiguousarray(row) for page in pages for row in page[:, np.newaxis]] if line_by_line else pages
    name, size = first_small_one(parts, candidates(np.dtype("u1"), choice, None))
    assert plan.encoder.name == name
    assert plan.frame_bytes == pytest.approx(size * NY * NX / sum(page.size for page in pages))
    assert plan.layout.codec == plan.encoder.codec
    assert plan.layout.dtype == np.dtype("u1")
    assert plan.layout.rows_per_strip == (1 if line_by_line else min(plan.encoder.rows, NY))


@pytest.mark.parametrize(("mean", "name"), [(0.005, "rle"), (0.1, "lzw"), (1.4, "huffman"), (60, "huffman")])
def test_the_best_encoder_depends_on_the_dose(tmp_path: Path, pool: Executor, mean: float, name: str) -> None:
    assert plan_of(counts_movie(tmp_path / "movie.mrc", mean), pool).encoder.name == name


@pytest.mark.parametrize("level", [1, 9])
def test_a_level_leaves_no_choice(tmp_path: Path, pool: Executor, level: int) -> None:
    plan = plan_of(counts_movie(tmp_path / "movie.mrc", 1.4), pool, Coding("deflate", level))
    assert (plan.encoder.name, plan.layout.codec) == (f"deflate-{level}", codec_named("deflate"))


def test_gain_normalised_values_become_counts(tmp_path: Path, pool: Executor) -> None:
    path = movie_file(tmp_path / "movie.mrc", list(DETECTOR.frames(FRAMES)), 2)
    reference = Reference(Gain("", ""), GainReference(DETECTOR.gain))
    plan = plan_of(path, pool, reference=reference)
    assert (plan.reference, plan.layout.dtype) == (reference, np.dtype("u1"))
    assert plan.plain is not None
    assert (plan.plain.reference, plan.plain.layout.dtype) == (None, np.dtype("f4"))
    assert plan.frame_bytes < plan.plain.frame_bytes / 2


def test_floats_that_are_not_counts_stay_as_they_are(tmp_path: Path, pool: Executor) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.normal(100, 30, (NY, NX)).astype(np.float32) for _ in range(FRAMES)]
    plan = plan_of(movie_file(tmp_path / "movie.mrc", frames, 2), pool)
    assert (plan.layout.dtype, plan.encoder.codec) == (np.dtype("f4"), codec_named("deflate", "float"))
    assert plan.reference is None


def test_floats_that_are_counts_become_bytes(tmp_path: Path, pool: Executor) -> None:
    plan = plan_of(counts_movie(tmp_path / "movie.mrc", 1.4, mode=2), pool)
    assert plan.layout.dtype == np.dtype("u1")
