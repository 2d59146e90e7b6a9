"""`cryofs check-gain` and its parts on files of each kind."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from benchmarks.simulate import Detector, header, write_frames, write_movie
from benchmarks.simulate_counts import make_gain
from benchmarks.simulate_eer import Events, Widths, encode, write_eer
from benchmarks.simulate_scaled import ScaledDetector
from cryofs.errors import FormatError, GainError
from cryofs.gain.gain_check import check_gain, read_gain, warn_of
from cryofs.kernels.orientation import ORIENTATIONS, Orientation
from tests.support import archive, run_in_process

SHAPE = (400, 520)
RNG = np.random.default_rng(11)
GAIN = make_gain(RNG, SHAPE, 0.1)
OTHER = make_gain(RNG, SHAPE, 0.1)
FRAMES = 12
COUNTS = [
    RNG.poisson(np.divide(1, GAIN, out=np.zeros_like(GAIN), where=GAIN > 0)).astype(np.int8) for _ in range(FRAMES)
]
FALCON = Widths()
DETECTOR = Detector.make(SHAPE, defects=20)


def mrc_gain(path: Path, gain: NDArray[np.float32]) -> Path:
    path.write_bytes(header((1, *gain.shape), 2) + np.ascontiguousarray(gain, np.float32).tobytes())
    return path


def mrc_movie(folder: Path) -> Path:
    path = folder / "movie.mrc"
    write_frames(path, COUNTS, (FRAMES, *SHAPE), 0)
    return path


def float_movie(folder: Path) -> Path:
    path = folder / "float.mrc"
    write_frames(path, (frame.astype(np.float32) for frame in COUNTS), (FRAMES, *SHAPE), 2)
    return path


def tiff_movie(folder: Path) -> Path:
    path = folder / "movie.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in COUNTS:
            # rows of a TIFF run from the top
            writer.write(frame[::-1].astype(np.uint8), rowsperstrip=64, compression="lzw")
    return path


def eer_movie(folder: Path) -> Path:
    path = folder / "movie.eer"
    frames = []
    for frame in COUNTS:
        pixels = np.flatnonzero(frame > 0)
        zeros = np.zeros(len(pixels), np.int64)
        frames.append(encode(Events(pixels, zeros, zeros), GAIN.size, FALCON))
    write_eer(path, frames, SHAPE, FALCON)
    return path


def archived_counts(folder: Path) -> Path:
    (folder / "session").mkdir()
    mrc_movie(folder / "session")
    archive(folder / "session", folder / "archive")
    return folder / "archive" / "movie.mrc.tif"


MOVIES = (mrc_movie, float_movie, tiff_movie, eer_movie, archived_counts)


@pytest.mark.parametrize("make", MOVIES)
@pytest.mark.parametrize("orientation", [Orientation(), Orientation(2), Orientation(3), Orientation(1, flip=True)])
def test_movies_of_each_kind(tmp_path: Path, make: Callable[[Path], Path], orientation: Orientation) -> None:
    movie, gain = make(tmp_path), mrc_gain(tmp_path / "gain.mrc", orientation.turned(GAIN))
    check = check_gain(gain, [movie], 2)
    assert check.best is not None
    np.testing.assert_array_equal(check.best.orientation.turned(orientation.turned(GAIN)), GAIN)
    assert not check.best.is_divisor
    assert check_gain(mrc_gain(tmp_path / "other.mrc", OTHER), [movie], 2).best is None


@pytest.mark.parametrize("scaled", [False, True])
def test_gain_normalised_movies_need_their_counts(tmp_path: Path, scaled: bool) -> None:
    movie = tmp_path / "session" / "movie.mrc"
    movie.parent.mkdir()
    if scaled:
        ScaledDetector(DETECTOR).write(movie, 20)
    else:
        write_movie(movie, DETECTOR, 20)
    gain = mrc_gain(tmp_path / "gain.mrc", DETECTOR.gain[::-1])
    with pytest.raises(GainError, match=r"movie\.mrc: has gain-normalised values, not counts; pass its archived movie"):
        check_gain(gain, [movie], 2)
    archive(movie.parent, tmp_path / "archive")
    # of these random counts the pixels have no gain, so they fit none
    check = check_gain(gain, [tmp_path / "archive" / "movie.mrc.tif"], 2)
    assert (check.best, check.frames) == (None, 20)


def test_kinds_of_gain_files(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_gain(mrc_gain(tmp_path / "gain.mrc", GAIN)), GAIN)
    tifffile.imwrite(tmp_path / "falcon.gain", GAIN)
    np.testing.assert_array_equal(read_gain(tmp_path / "falcon.gain"), GAIN)
    tifffile.imwrite(tmp_path / "gain.tif", GAIN)
    np.testing.assert_array_equal(read_gain(tmp_path / "gain.tif"), GAIN[::-1])
    (tmp_path / "gain.dm4").write_bytes(b"\0\0\0\4" + bytes(2000))
    with pytest.raises(
        GainError, match=r"gain\.dm4: a DigitalMicrograph file \(DM4\), not .* dm2mrc gain\.dm4 gain\.mrc"
    ):
        read_gain(tmp_path / "gain.dm4")
    for path, message in (
        (mrc_movie(tmp_path), "expected 1 frame, got 12"),
        (tmp_path / "none.mrc", "No such file"),
        (Path(__file__), "not a gain reference"),
    ):
        with pytest.raises(GainError, match=message):
            read_gain(path)


def test_several_movies_of_one_size(tmp_path: Path) -> None:
    movie, gain = mrc_movie(tmp_path), mrc_gain(tmp_path / "gain.mrc", GAIN)
    assert (check_gain(gain, [movie, movie, movie], 2).frames, check_gain(gain, [movie], 2, 5).frames) == (36, 5)
    write_frames(tmp_path / "small.mrc", [COUNTS[0][:100]], (1, 100, SHAPE[1]), 0)
    with pytest.raises(FormatError, match=r"small\.mrc: frame size mismatch \(expected 400 x 520, got 100 x 520\)"):
        check_gain(gain, [movie, tmp_path / "small.mrc"], 2)
    with pytest.raises(
        GainError, match=r"size mismatch in all orientations .expected 100 x 520, .*; pass the gain reference"
    ):
        check_gain(gain, [tmp_path / "small.mrc"], 2)


def test_warnings(tmp_path: Path) -> None:
    movie = mrc_movie(tmp_path)
    assert warn_of(mrc_gain(tmp_path / "gain.mrc", GAIN), movie, 1) is None
    warning = warn_of(mrc_gain(tmp_path / "turned.mrc", GAIN[::-1, ::-1]), movie, 1)
    assert warning is not None
    assert "turned.mrc: the orientation of the gain reference differs from" in warning
    assert "pass --gain-orientation rot180," in warning
    warning = warn_of(mrc_gain(tmp_path / "other.mrc", OTHER), movie, 1)
    assert warning is not None
    assert "other.mrc: probably not the gain reference of" in warning
    assert warn_of(tmp_path / "missing.mrc", movie, 1) is None


def test_the_command(tmp_path: Path) -> None:
    movie = mrc_movie(tmp_path)
    for orientation in ORIENTATIONS:
        turned = orientation.turned(GAIN)
        gain = mrc_gain(tmp_path / "gain.mrc", turned)
        facts = json.loads(run_in_process("check-gain", gain, movie, "--json").stdout)
        found = np.rot90(turned, facts["rot90"])
        np.testing.assert_array_equal(found[:, ::-1] if facts["flip"] else found, GAIN)
        assert facts["significance"] > facts["threshold"] == 8
        assert (facts["frames"], facts["convention"], len(facts["orientations"])) == (FRAMES, "multiply", 4)
    divisors = np.divide(1, GAIN, out=np.zeros_like(GAIN), where=GAIN > 0)
    shown = run_in_process("check-gain", mrc_gain(tmp_path / "gain.mrc", divisors[:, ::-1]), movie).stdout
    for line in ("RELION     --gain_rot 0 --gain_flip 2", "cryoSPARC  flip in X", "must be divided by the values"):
        assert line in shown
    other = run_in_process("check-gain", mrc_gain(tmp_path / "gain.mrc", OTHER), movie, check=False)
    assert (other.returncode, "the gain reference does not match these movies" in other.stdout) == (1, True)
    refused = run_in_process("check-gain", movie, movie, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "expected 1 frame, got 12" in refused.stderr
