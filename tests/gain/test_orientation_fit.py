"""Which orientation of a gain reference fits the counts, on arrays smaller than real frames."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate_counts import Camera, make_gain, sum_of_frames
from cryofs.gain.orientation_fit import SIGNIFICANT, best_fit, rank
from cryofs.gain.program_options import options_of
from cryofs.kernels.orientation import ORIENTATIONS, UPRIGHT, Orientation, orientation_of

FRAMES = 20
# Differences that one movie does not show.
SPREAD_OF_NOISE = 0.003
SHAPES: dict[Camera, tuple[int, int]] = {"K2": (742, 767), "K3": (818, 1152), "EER": (768, 768)}


def given(gain: NDArray[np.float32], wanted: Orientation) -> NDArray[np.float32]:
    """The reference as a program stored it, so that the wanted orientation of it fits."""
    return next(
        stored
        for orientation in ORIENTATIONS
        if wanted.turned_shape((stored := orientation.turned(gain)).shape) == gain.shape
        and np.array_equal(wanted.turned(stored), gain)
    )


@pytest.mark.parametrize("camera", SHAPES)
@pytest.mark.parametrize("dose", [0.1, 0.5, 2.0])
def test_the_right_one_of_eight_and_no_other_gain(camera: Camera, dose: float) -> None:
    rng = np.random.default_rng(int(10 * dose))
    for _ in range(2):
        gain, other = make_gain(rng, SHAPES[camera]), make_gain(rng, SHAPES[camera])
        counts = sum_of_frames(rng, gain, dose, FRAMES, camera)
        for wanted in ORIENTATIONS:
            fits = rank(counts, given(gain, wanted))
            assert [fit.orientation for fit in fits if fit.is_significant] == [wanted]
            assert len(fits) == (8 if counts.shape[0] == counts.shape[1] else 4)
        # all orientations are tried
        assert best_fit(rank(counts, other)) is None


@pytest.mark.parametrize("shape", [(512, 512), (500, 640)])
def test_divisors_have_a_negative_significance(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    gain = make_gain(rng, shape)
    counts = sum_of_frames(rng, gain, 1.0, FRAMES, "K2")
    divisors = np.divide(1, gain, out=np.full(shape, np.nan, np.float32), where=gain > 0)
    for reference, is_divisor in ((gain, False), (divisors, True)):
        best = best_fit(rank(counts, reference[:, ::-1]))
        assert best is not None
        assert (best.orientation, best.is_divisor) == (Orientation(0, flip=True), is_divisor)


@pytest.mark.parametrize("factor", [2, 4])
def test_references_on_a_finer_and_on_a_coarser_grid(factor: int) -> None:
    rng = np.random.default_rng(2)
    shape = (600, 800)
    fine = make_gain(rng, (shape[0] * factor, shape[1] * factor), 0.1)
    counts = sum_of_frames(rng, fine, 1.0, FRAMES, "K2")
    binned = counts.reshape(shape[0], factor, shape[1], factor).sum((1, 3))
    best = best_fit(rank(binned, Orientation(1).turned(fine)))
    assert best is not None
    assert best.orientation == Orientation(3)
    coarse = make_gain(rng, shape)
    repeated = coarse.repeat(factor, 0).repeat(factor, 1)
    best = best_fit(rank(sum_of_frames(rng, repeated, 0.2, FRAMES, "K2"), coarse[::-1]))
    assert best is not None
    assert best.orientation == Orientation(2, flip=True)


def test_defects_of_both_and_pixels_that_are_not_finite() -> None:
    rng = np.random.default_rng(3)
    gain = make_gain(rng, (512, 512))
    counts = sum_of_frames(rng, gain, 1.0, FRAMES, "K2")
    counts[100:110] = 0
    counts[:, 200] = 1e9
    counts[5, 5] = np.nan
    gain[300:340] = np.nan
    gain[:, 17] = np.inf
    gain[400, 400] = 1e-30
    gain[401, 401] = -1
    best = best_fit(rank(counts, np.rot90(gain)))
    assert best is not None
    assert best.orientation == Orientation(3)


@pytest.mark.parametrize("value", [1.0, 0.0, np.nan])
def test_a_reference_without_differences_does_not_fit(value: float) -> None:
    rng = np.random.default_rng(4)
    counts = sum_of_frames(rng, make_gain(rng, (256, 256)), 1.0, FRAMES, "K2")
    assert [fit.significance for fit in rank(counts, np.full((256, 256), value, np.float32))] == [0] * 8
    assert best_fit(rank(np.zeros((256, 256)), make_gain(rng, (256, 256)))) is None


def test_a_reference_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"size mismatch in all orientations .expected 60 x 60, got 60 x 50"):
        rank(np.ones((60, 60)), np.ones((60, 50)))


def test_lines_and_patterns_that_both_have_do_not_fit() -> None:
    rng = np.random.default_rng(5)
    shape = (768, 768)
    for _ in range(5):
        one, other = make_gain(rng, shape, 0.0), make_gain(rng, shape, SPREAD_OF_NOISE)
        counts = sum_of_frames(rng, one, 2.0, FRAMES, "K3")
        assert abs(rank(counts, other)[0].significance) < SIGNIFICANT


def test_names_and_options() -> None:
    assert [orientation_of(one.name) for one in ORIENTATIONS] == list(ORIENTATIONS)
    assert UPRIGHT.name == "rot0"
    image = np.arange(12).reshape(3, 4)
    for orientation in ORIENTATIONS:
        words = options_of(orientation)
        number, flip = (int(word) for word in words["RELION"].split()[1::2])
        # as RELION 3.1.3 does it, measured with relion_run_motioncorr
        turned = np.rot90(image, -number)
        turned = {0: turned, 1: turned[::-1], 2: turned[:, ::-1]}[flip]
        np.testing.assert_array_equal(turned, orientation.turned(image))
        assert words["MotionCor"] == f"-RotGain {number} -FlipGain {flip}"
        assert words["cryofs"] == f"--gain-orientation {orientation.name}"
