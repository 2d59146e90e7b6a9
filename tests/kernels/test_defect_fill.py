"""Filling defects with the mean of good neighbours, compared with a plain loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.kernels import defect_fill
from cryofs.kernels.defect_fill import DefectFill


def filled(image: NDArray[Any], gain: NDArray[np.float32], upsampling: int, rows: int = 3) -> NDArray[np.float32]:
    fill = DefectFill.of(gain, upsampling)
    values = fill.values(image)
    result = image * gain
    for first in range(0, len(image), rows):
        fill.fill(result[first : first + rows], first, values)
    return result


def plain(image: NDArray[Any], gain: NDArray[np.float32], upsampling: int) -> NDArray[np.float64]:
    """Fill the detector pixels that have good neighbours until none is left."""
    image = image.astype(np.float64) * gain
    ny, nx = len(gain) // upsampling, gain.shape[1] // upsampling
    cells = (ny, upsampling, nx, upsampling)
    means = image.reshape(cells).mean(axis=(1, 3))
    left = (gain == 0).reshape(cells).any(axis=(1, 3))
    while left.any():
        before, now = left.copy(), means.copy()
        for row, column in np.argwhere(before):
            around = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if not before[around].all():
                now[row, column] = means[around][~before[around]].mean()
                left[row, column] = False
        means = now
    return np.where(gain == 0, means.repeat(upsampling, 0).repeat(upsampling, 1), image)


def check(ny: int, nx: int, defective: NDArray[np.bool_], upsampling: int) -> None:
    rng = np.random.default_rng(ny * nx)
    image = rng.poisson(3.0, (upsampling * ny, upsampling * nx)).astype(np.uint8)
    gain = np.where(defective, 0, rng.uniform(0.5, 2, image.shape)).astype(np.float32)
    np.testing.assert_allclose(filled(image, gain, upsampling), plain(image, gain, upsampling), rtol=1e-5)


upsamplings = st.sampled_from([1, 2, 4])


@given(st.integers(1, 12), st.integers(1, 12), upsamplings, st.floats(0, 1), st.integers(0, 1 << 30))
def test_any_defects(ny: int, nx: int, upsampling: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    defective = rng.random((ny, nx)) < share
    defective[rng.integers(ny), rng.integers(nx)] = False
    check(ny, nx, defective.repeat(upsampling, 0).repeat(upsampling, 1), upsampling)


@given(upsamplings, st.floats(0, 0.1), st.integers(0, 1 << 30))
def test_defects_of_a_finer_gain_reference(upsampling: int, share: float, seed: int) -> None:
    defective = np.random.default_rng(seed).random((upsampling * 12, upsampling * 9)) < share
    defective[:upsampling, :upsampling] = False
    check(12, 9, defective, upsampling)


@pytest.mark.parametrize("place", [np.s_[20], np.s_[:, 7], np.s_[30:39, 10:22], np.s_[0], np.s_[:, -1], np.s_[:3, :3]])
@pytest.mark.parametrize("upsampling", [1, 2])
def test_lines_and_blocks_of_defects(place: tuple[slice, ...], upsampling: int) -> None:
    defective = np.zeros((48, 40), bool)
    defective[place] = True
    check(48, 40, defective.repeat(upsampling, 0).repeat(upsampling, 1), upsampling)


def test_an_image_without_defects_is_multiplied_only() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4)
    gain = np.full(image.shape, 2, np.float32)
    np.testing.assert_array_equal(filled(image, gain, 2), 2 * image)


def test_deep_areas_get_a_mean() -> None:
    deep = 2 * defect_fill._DEEPEST + 20
    image = np.full((deep, deep + 2), 3, np.float32)
    gain = np.ones(image.shape, np.float32)
    gain[:, 1:-1] = 0
    np.testing.assert_allclose(filled(image, gain, 1), 3, rtol=1e-6)
