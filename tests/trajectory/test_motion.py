"""Shifts, the motion model and hot pixels follow from the physical motion, whatever the fractions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.trajectory.motion import (
    NOT_OBSERVED,
    regrouped_model,
    regrouped_shifts,
    resampled_pixels,
)


def middles(frames: int, grouping: int) -> NDArray[np.float64]:
    """Return the times of whole fractions in frames of the camera."""
    return np.asarray((np.arange(frames // grouping) + 0.5) * grouping, np.float64)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(80, 400))
def test_linear_motion_is_exact_at_any_grouping(old: int, new: int, frames: int) -> None:
    slopes = np.array([0.03, -0.2])
    shifts = middles(frames, old)[:, None] * slopes + 4
    result = regrouped_shifts(shifts, new / old)
    usable = frames // old * old
    assert np.allclose(result, middles(usable, new)[:, None] * slopes + 4)


def test_curved_motion_is_closer_than_with_the_start_of_fractions() -> None:
    def drift(times: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack((12 * (1 - np.exp(-times / 60)), 0.001 * times**1.5), axis=1)

    old = drift(middles(240, 24))
    truth = drift(middles(240, 8))
    ours = regrouped_shifts(old, 8 / 24)
    times = np.arange(30) * 8 / 24
    relion = np.stack([np.interp(times, np.arange(10), axis) for axis in old.T], axis=1)

    def error(shifts: NDArray[np.float64]) -> float:
        # a constant moves the whole micrograph
        return float(np.std(shifts - truth, axis=0).max())

    assert error(ours) < 0.6 * error(relion)


def test_fine_and_back_is_the_first_trajectory() -> None:
    shifts = np.cumsum(np.random.default_rng(1).normal(size=(20, 2)), axis=0)
    back = regrouped_shifts(regrouped_shifts(shifts, 1 / 3), 3)
    assert np.allclose(back, shifts)


def test_fractions_that_were_not_read_stay_unknown() -> None:
    shifts = np.full((6, 2), NOT_OBSERVED)
    shifts[1:5] = np.arange(4)[:, None]
    halved = regrouped_shifts(shifts, 0.5)
    assert (halved[:2] == NOT_OBSERVED).all()
    assert (halved[10:] == NOT_OBSERVED).all()
    assert np.allclose(halved[2:10, 0], np.arange(8) / 2 - 0.25)
    # fractions 0 and 2 of the doubled grouping hold one that is known and one that is not
    doubled = regrouped_shifts(shifts, 2)
    assert (doubled[[0, 2]] == NOT_OBSERVED).all()
    assert np.allclose(doubled[1], 1.5)
    assert (regrouped_shifts(np.full((4, 2), NOT_OBSERVED), 0.5) == NOT_OBSERVED).all()
    single = np.full((1, 2), 3.0)
    assert np.allclose(regrouped_shifts(single, 0.25), 3)


@given(st.floats(0.05, 20), st.floats(-5, 20), st.integers(0, 2**32 - 1))
def test_the_model_gives_the_same_motion_between_two_times(scale: float, offset: float, seed: int) -> None:
    old = np.random.default_rng(seed).normal(size=36)
    new = regrouped_model(old, scale, offset)

    def value(coefficients: NDArray[np.float64], time: float) -> NDArray[np.float64]:
        powers = np.array([time, time**2, time**3])
        result: NDArray[np.float64] = coefficients.reshape(-1, 3) @ powers
        return result

    for time in (0.0, 1.0, 2.5):
        expected = value(old, scale * time + offset) - value(old, offset)
        assert np.allclose(value(new, time), expected, rtol=1e-6, atol=1e-6 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize(("old", "new"), [(1, 2), (1, 4), (2, 4)])
def test_hot_pixels_become_blocks_and_merge_again(old: int, new: int) -> None:
    pixels = np.array([[7, 3], [0, 0], [5, 1023]])
    finer, origins = resampled_pixels(pixels, old, new)
    ratio = new // old
    assert len(finer) == 3 * ratio**2
    assert len(np.unique(finer, axis=0)) == len(finer)
    assert (finer // ratio == pixels[origins]).all()
    back, first = resampled_pixels(finer, new, old)
    assert (back == pixels).all()
    assert (finer[first] // ratio == pixels).all()
