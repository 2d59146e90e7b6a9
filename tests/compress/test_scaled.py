"""Gain-normalised integers: stored as counts in the space of the counts, every byte restored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.simulate import Detector, header, write_frames, write_movie
from benchmarks.simulate_falcon3 import falcon3_frames
from benchmarks.simulate_scaled import Rounding, ScaledDetector
from cryofs.archive.info import describe
from cryofs.compress.movie_task import CompressOptions
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.archived_counts import CountsMovie
from cryofs.movies.gain_library import GainLibrary
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksums import file_sha256
from tests.support import DETECTOR, SHAPE, archive, assert_verified, names, restored, run_in_process

CAMERA = ScaledDetector(DETECTOR)
RNG = np.random.default_rng(3)
MODES = {"i2": 1, "u2": 6}


def written(path: Path, values: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_frames(path, values, values.shape, MODES[values.dtype.str[1:]])
    return path


def scaled(path: Path, camera: ScaledDetector = CAMERA, frames: int = 20, mean: float = 1.0, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    camera.write(path, frames, mean=mean, seed=seed)
    return path


def given_reference(path: Path, gain: NDArray[np.float32] = DETECTOR.gain) -> Path:
    path.write_bytes(header((1, *gain.shape), 2) + np.ascontiguousarray(gain).tobytes())
    return path


def size_of_counts(tmp_path: Path, camera: ScaledDetector, frames: int = 20, mean: float = 1.0, seed: int = 0) -> int:
    camera.write_counts(tmp_path / "counts.mrc", frames, mean=mean, seed=seed)
    archive(tmp_path / "counts.mrc", tmp_path / "counts")
    return (tmp_path / "counts" / "counts.mrc.tif").stat().st_size


def assert_restored(movie: Path, target: Path, to: Path) -> None:
    assert (restored(target, to) / movie.name).read_bytes() == movie.read_bytes()


@pytest.mark.parametrize(
    ("scale", "mean", "dtype"),
    [
        (10, 0.1, "i2"),
        (10, 5, "u2"),
        (16, 1, "i2"),
        (32.7, 0.3, "u2"),
        (32.7, 5, "i2"),
        (50, 2, "i2"),
        (100, 0.1, "i2"),
        (100, 1, "u2"),
        (100, 5, "i2"),
        (1000, 1, "u2"),
        (1000, 5, "i2"),
        (64, 7, "i2"),
    ],
)
def test_the_size_is_that_of_the_counts(tmp_path: Path, scale: float, mean: float, dtype: str) -> None:
    camera = ScaledDetector(DETECTOR, scale, dtype)
    frames = np.stack([values for values, _ in camera.frames(20, mean)])
    # a few saturated pixels, as at X-rays
    for frame in frames:
        frame.reshape(-1)[RNG.choice(frame.size, 3)] = np.iinfo(dtype).max
    movie, target = written(tmp_path / "movie.mrc", frames), tmp_path / "archive"
    _, reported = archive(movie, target)
    assert not reported.errors
    facts = describe(target / "movie.mrc.tif")
    assert (facts["stored_dtype"], facts["gain"]["name"]) == ("uint8", "gain-reference.mrc")
    assert facts["exceptions"] < 2e-3 * frames.size
    assert (target / "movie.mrc.tif").stat().st_size < 1.1 * size_of_counts(tmp_path, camera, mean=mean)
    assert_restored(movie, target, tmp_path / "restored")


@pytest.mark.parametrize("rounding", ["even", "up", "down"])
def test_halves_are_rounded_as_the_camera_software_does(tmp_path: Path, rounding: Rounding) -> None:
    # products of these gains often end in .5
    gain = (RNG.integers(240, 272, SHAPE) / np.float32(256)).astype(np.float32)
    camera = ScaledDetector(Detector(gain, DETECTOR.defects), 32, "i2", rounding)
    movie = scaled(tmp_path / "movie.mrc", camera, mean=2)
    options = {"estimated": CompressOptions(), "given": CompressOptions(gain=given_reference(tmp_path / "gain", gain))}
    for name, option in options.items():
        archive(movie, tmp_path / name, option)
        facts = describe(tmp_path / name / "movie.mrc.tif")
        assert facts["exceptions"] < 1e-3 * 20 * gain.size
        assert_restored(movie, tmp_path / name, tmp_path / f"{name}-restored")
    assert (facts["gain"]["rounding"], facts["gain"]["scale"]) == (rounding, 32)


def test_the_counts_are_shown(tmp_path: Path) -> None:
    archive(scaled(tmp_path / "movie.mrc"), tmp_path / "archive")
    path = tmp_path / "archive" / "movie.mrc.tif"
    defects = np.isin(np.arange(DETECTOR.gain.size), DETECTOR.defects).reshape(SHAPE)
    with ArchivedMovie(path, GainLibrary()) as movie, CountsMovie(movie) as counts:
        for index, (values, true) in enumerate(CAMERA.frames(20, 1.0)):
            np.testing.assert_array_equal(movie.frame(index), values)
            np.testing.assert_array_equal(counts.frame(index)[~defects], true[~defects])


def test_later_movies_use_the_reference_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    archive(scaled(tmp_path / "one.mrc", frames=40), target)
    two = scaled(tmp_path / "two.mrc", seed=1)
    _, reported = archive(two, target)
    assert not reported.rows
    assert [path.name for path in target.glob("gain*")] == ["gain-reference.mrc"]
    assert (target / "two.mrc.tif").stat().st_size < 1.1 * size_of_counts(tmp_path, CAMERA, seed=1)
    assert_verified(target, 2)


def test_another_gain_gets_another_reference(tmp_path: Path) -> None:
    other = ScaledDetector(Detector.make(SHAPE, defects=20, seed=77), dtype="u2")
    scaled(tmp_path / "session" / "a.mrc")
    scaled(tmp_path / "session" / "b.mrc", other)
    archive(tmp_path / "session", tmp_path / "archive")
    assert len(list((tmp_path / "archive").glob("gain*"))) == 2
    assert_verified(tmp_path / "archive", 2)


def test_movies_of_both_kinds_share_a_reference(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    session.mkdir()
    write_movie(session / "float.mrc", DETECTOR, 20)
    scaled(session / "integers.mrc", ScaledDetector(DETECTOR, 32.7), mean=0.5)
    archive(session, target)
    assert [path.name for path in target.glob("gain*")] == ["gain-reference.mrc"]
    facts = describe(target / "integers.mrc.tif")
    assert (facts["gain"]["scale"], facts["gain"]["rounding"]) == (32.7, "even")
    assert_verified(target, 2)


def test_a_given_reference_is_scaled(tmp_path: Path) -> None:
    reference = given_reference(tmp_path / "gain.mrc")
    movie = scaled(tmp_path / "movie.mrc", ScaledDetector(DETECTOR, 83.21, "u2"))
    _, reported = archive(movie, tmp_path / "archive", CompressOptions(gain=reference))
    assert (reported.rows, reported.notes) == ([], [])
    assert (tmp_path / "archive" / "gain-reference.mrc").read_bytes() == reference.read_bytes()
    facts = describe(tmp_path / "archive" / "movie.mrc.tif")
    with LocalFile.open(reference) as source:
        assert facts["gain"]["sha256"] == file_sha256(source)
    assert facts["gain"]["scale"] == pytest.approx(83.21, abs=0.01)
    assert facts["exceptions"] < 1e-3 * 20 * DETECTOR.gain.size
    assert_restored(movie, tmp_path / "archive", tmp_path / "restored")


@pytest.mark.parametrize("turned", [False, True])
def test_a_given_reference_that_does_not_fit_is_reported(tmp_path: Path, turned: bool) -> None:
    wrong = DETECTOR.gain[::-1] if turned else Detector.make(SHAPE, seed=78).gain
    options = CompressOptions(gain=given_reference(tmp_path / "gain.mrc", wrong))
    movie = scaled(tmp_path / "movie.mrc")
    _, reported = archive(movie, tmp_path / "archive", options)
    (note,) = reported.notes
    assert ("wrong orientation" if turned else "does not yield counts") in note
    assert describe(tmp_path / "archive" / "movie.mrc.tif")["gain"] is None
    assert_restored(movie, tmp_path / "archive", tmp_path / "restored")


def test_no_gain_on_request(tmp_path: Path) -> None:
    movie = scaled(tmp_path / "movie.mrc")
    archive(movie, tmp_path / "archive", CompressOptions(gain="none"))
    assert names(tmp_path / "archive") == ["movie.mrc.tif"]
    assert describe(tmp_path / "archive" / "movie.mrc.tif")["gain"] is None
    assert_restored(movie, tmp_path / "archive", tmp_path / "restored")


def border(values: NDArray[Any]) -> NDArray[Any]:
    values[:, :9] = 0
    return values


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda shape: RNG.poisson(0.3, shape), id="few counts"),
        pytest.param(lambda shape: RNG.poisson(4, shape), id="counts"),
        pytest.param(lambda shape: RNG.poisson(120, shape), id="many counts"),
        pytest.param(lambda shape: border(np.asarray(RNG.poisson(500, shape))), id="many counts with a border"),
        pytest.param(lambda shape: border(np.asarray(RNG.poisson(60, shape))), id="fractions with a border"),
        pytest.param(lambda shape: RNG.poisson(1, shape) * 16, id="shifted counts"),
        pytest.param(lambda shape: RNG.normal(0, 12, shape), id="dark-subtracted"),
        pytest.param(lambda shape: np.maximum(RNG.normal(20, 30, shape), 0), id="clipped at 0"),
        pytest.param(lambda shape: RNG.normal(1500, 90, shape), id="linear"),
        pytest.param(lambda shape: RNG.integers(0, 4096, shape), id="noise"),
        pytest.param(lambda shape: RNG.exponential(100, shape), id="exponential"),
        pytest.param(lambda shape: np.stack(list(falcon3_frames(shape[0], shape[1:]))), id="Falcon 3"),
        pytest.param(lambda shape: np.zeros(shape), id="zeros"),
    ],
)
def test_other_integers_are_stored_as_they_are(tmp_path: Path, values: Any) -> None:
    movie = written(tmp_path / "movie.mrc", values((8, 90, 120)).astype("i2"))
    archive(movie, tmp_path / "archive")
    assert names(tmp_path / "archive") == ["movie.mrc.tif"]
    assert_restored(movie, tmp_path / "archive", tmp_path / "restored")


def test_few_frames_are_not_worth_a_reference(tmp_path: Path) -> None:
    scaled(tmp_path / "movie.mrc", frames=5)
    archive(tmp_path / "movie.mrc", tmp_path / "archive")
    assert names(tmp_path / "archive") == ["movie.mrc.tif"]
    assert_verified(tmp_path / "archive", 1)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**31), st.integers(-32768, 32767)), max_size=40),
    st.binary(max_size=50),
    st.sampled_from("<>"),
    st.sampled_from(["i2", "u2"]),
    st.sampled_from([10.0, 32.7, 100.0]),
)
def test_every_byte_is_restored(
    tmp_path_factory: pytest.TempPathFactory,
    odd: list[tuple[int, int]],
    tail: bytes,
    order: str,
    dtype: str,
    scale: float,
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    camera = ScaledDetector(Detector.make((40, 41), 3), scale, dtype)
    frames = np.stack([values for values, _ in camera.frames(8, 1.0)])
    for place, value in odd:
        frames.reshape(-1).view("i2")[place % frames.size] = value
    head = header(frames.shape, MODES[dtype], byte_order=order, extended=tail, kind=b"SERI")
    movie = folder / "movie.mrc"
    movie.write_bytes(head + frames.astype(order + dtype).tobytes() + tail)
    archive(movie, folder / "archive")
    assert describe(folder / "archive" / "movie.mrc.tif")["gain"] is not None
    assert_restored(movie, folder / "archive", folder / "restored")


def test_commands_know_such_movies(tmp_path: Path) -> None:
    session, target = tmp_path / "session", tmp_path / "archive"
    scaled(session / "a.mrc")
    archive(session, target)
    text = run_in_process("info", target / "a.mrc.tif").stdout
    assert "count x gain x scale, rounded, ties to even" in text
    run_in_process("verify", target)
    assert "1" in run_in_process("compare", session, target).stdout
    run_in_process("preview", target / "a.mrc.tif", "-o", tmp_path / "a.png")
    run_in_process("report", target, "-o", tmp_path / "report.html")
    assert "gain-normalised" in (tmp_path / "report.html").read_text()
