"""Gain references that are turned: warnings of a run, and the option that turns them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import header, write_frames
from benchmarks.simulate_counts import make_gain
from benchmarks.simulate_eer import Events, Widths, encode, write_eer
from cryofs.archive.info import describe
from cryofs.compress.movie_task import CompressOptions
from cryofs.kernels.orientation import ORIENTATIONS, Orientation
from cryofs.movies.eer_rendering import Rendering
from cryofs.movies.gain_library import load_reference
from cryofs.movies.provider import InfoOptions
from tests.outcomes import verified
from tests.support import DETECTOR, SHAPE, archive, restored, run_in_process, simulated

RNG = np.random.default_rng(7)
GAIN = np.maximum(make_gain(RNG, SHAPE, 0.1), np.float32(0.5))
OTHER = make_gain(RNG, SHAPE, 0.1)
COUNTS = [RNG.poisson(1 / GAIN).astype(np.int8) for _ in range(12)]


def write_gain(path: Path, gain: NDArray[np.float32]) -> Path:
    path.write_bytes(header((1, *gain.shape), 2) + np.ascontiguousarray(gain, np.float32).tobytes())
    return path


def undone(orientation: Orientation) -> Orientation:
    """The orientation that turns an image back."""
    image = np.arange(6).reshape(2, 3)
    return next(one for one in ORIENTATIONS if np.array_equal(one.turned(orientation.turned(image)), image))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_reference_of_gain_normalised_movies_is_turned(tmp_path: Path, orientation: Orientation) -> None:
    simulated(tmp_path / "session" / "a.mrc")
    gain = write_gain(tmp_path / "gain.mrc", orientation.turned(DETECTOR.gain))
    wanted = undone(orientation)
    summary, reported = archive(
        tmp_path / "session", tmp_path / "turned", CompressOptions(gain=gain, gain_orientation=wanted)
    )
    assert (summary.movies, summary.failed, reported.notes) == (1, 0, [])
    assert describe(tmp_path / "turned" / "a.mrc.tif", InfoOptions(2))["gain"] is not None
    np.testing.assert_array_equal(load_reference(tmp_path / "turned" / "gain-reference.mrc").gain, DETECTOR.gain)
    shown = restored(tmp_path / "turned", tmp_path / "restored") / "a.mrc"
    assert shown.read_bytes() == (tmp_path / "session" / "a.mrc").read_bytes()
    if wanted != Orientation():
        _, reported = archive(tmp_path / "session", tmp_path / "plain", CompressOptions(gain=gain))
        (note,) = reported.notes
        assert f"wrong orientation of the given gain reference; pass --gain-orientation {wanted.name}" in note
        assert not verified(tmp_path / "plain")[1]


def eer_session(folder: Path) -> Path:
    folder.mkdir()
    widths = Widths()
    frames = []
    for frame in COUNTS:
        pixels = np.flatnonzero(frame > 0)
        zeros = np.zeros(len(pixels), np.int64)
        frames.append(encode(Events(pixels, zeros, zeros), GAIN.size, widths))
    write_eer(folder / "a.eer", frames, SHAPE, widths)
    return folder


def counts_session(folder: Path) -> Path:
    folder.mkdir()
    write_frames(folder / "a.mrc", COUNTS, (len(COUNTS), *SHAPE), 0)
    return folder


def options(kind: str, gain: Path, orientation: Orientation) -> CompressOptions:
    if kind == "counts":
        return CompressOptions(gain=gain, gain_orientation=orientation)
    rendering = Rendering(grouping=4, gain=gain, gain_convention="multiply")
    return CompressOptions(rendering=rendering, gain_orientation=orientation)


@pytest.mark.parametrize("kind", ["counts", "eer"])
def test_a_run_warns_of_references_of_counts(tmp_path: Path, kind: str) -> None:
    session = (counts_session if kind == "counts" else eer_session)(tmp_path / "session")
    turned = Orientation(2, flip=True)
    gain, other = write_gain(tmp_path / "gain.mrc", turned.turned(GAIN)), write_gain(tmp_path / "other.mrc", OTHER)
    for number, (reference, orientation, part) in enumerate(
        (
            (gain, turned, None),
            (gain, Orientation(), "gain reference differs"),
            (other, Orientation(), "probably not the gain reference of"),
        )
    ):
        summary, reported = archive(session, tmp_path / f"{number}", options(kind, reference, orientation))
        assert (summary.movies, summary.failed) == (1, 0)
        warnings = [
            note for note in reported.notes if f"{reference}: " in note and ("differs" in note or "probably" in note)
        ]
        assert len(warnings) == (part is not None)
        assert part is None or part in warnings[0]
    if kind == "eer":
        stored = load_reference(tmp_path / "0" / "gain-reference-eer.mrc").gain
        np.testing.assert_array_equal(stored, GAIN)


def test_the_option_needs_a_reference(tmp_path: Path) -> None:
    simulated(tmp_path / "session" / "a.mrc", frames=3)
    command = ["compress", tmp_path / "session", "-o", tmp_path / "a", "--gain-orientation"]
    refused = run_in_process(*command, "rot90", check=False)
    assert refused.returncode == 2
    assert "--gain-orientation requires a gain reference; set --gain FILE or --eer-gain" in refused.stderr
    gain = write_gain(tmp_path / "gain.mrc", DETECTOR.gain[::-1])
    run_in_process(*command, "rot180-flip", "--gain", gain)
    np.testing.assert_array_equal(load_reference(tmp_path / "a" / "gain-reference.mrc").gain, DETECTOR.gain)
