"""Cropping in Fourier space, compared with transforms of the whole image in double precision."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofs.kernels import fourier_crop

TOLERANCE = 1e-5


def cropped(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    result = np.full(size, np.nan, np.float32)
    for first, rows in fourier_crop.crop(lambda start, end: image[start:end], image.shape, size):
        assert rows.dtype == np.float32
        result[first : first + len(rows)] = rows
    return result


def reference(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    """Crop as RELION's cropInFourierSpace does, from the transform of the whole image."""
    ny, nx = size
    whole = np.fft.rfft2(image.astype(np.float64))
    kept = np.zeros((ny, nx // 2 + 1), complex)
    for row in range(ny):
        below = row < (ny + 1) // 2
        kept[row] = whole[row if below else len(whole) - ny + row, : nx // 2 + 1]
    return np.fft.irfft2(kept, s=size)


def check(image: NDArray[np.float32], size: tuple[int, int]) -> None:
    expected = reference(image, size)
    largest = np.abs(cropped(image, size) - expected).max()
    assert largest <= TOLERANCE * (np.ptp(expected) + np.ptp(image))


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    factor=st.sampled_from([2, 4]),
    seed=st.integers(0, 1 << 30),
)
def test_small_images_of_any_size(shape: tuple[int, int], factor: int, seed: int) -> None:
    ny, nx = shape
    image = np.random.default_rng(seed).poisson(2.0, (factor * ny, factor * nx)).astype(np.float32)
    check(image, shape)


@pytest.mark.parametrize(("shape", "size"), [((2048, 1024), (1024, 512)), ((520, 2080), (130, 520))])
def test_images_of_several_blocks(shape: tuple[int, int], size: tuple[int, int]) -> None:
    check(np.random.default_rng(1).poisson(0.3, shape).astype(np.float32), size)


def test_the_sum_is_kept() -> None:
    image = np.random.default_rng(2).poisson(0.5, (256, 192)).astype(np.float32)
    assert cropped(image, (128, 96)).sum(dtype=np.float64) == pytest.approx(image.sum(dtype=np.float64), rel=1e-6)


def test_the_nyquist_row_is_that_of_the_negative_frequency() -> None:
    rows, columns = np.mgrid[:16, :16] / 16
    for frequency in (4, -4):
        # at column frequency 1 the two Nyquist rows differ
        image = np.cos(2 * np.pi * (frequency * rows + columns)).astype(np.float32)
        expected = 0 if frequency > 0 else 4 * np.cos(2 * np.pi * (4 * rows[::2, ::2] + columns[::2, ::2]))
        np.testing.assert_allclose(cropped(image, (8, 8)), expected, atol=1e-5)


def test_a_constant_image_stays_constant() -> None:
    np.testing.assert_allclose(cropped(np.ones((64, 64), np.float32), (16, 16)), 16, rtol=1e-6)


def test_memory_is_bounded_by_the_cropped_columns() -> None:
    counts = np.random.default_rng(3).poisson(0.1, (2048, 2048)).astype(np.uint8)
    size = 1024, 1024
    tracemalloc.start()
    for _ in fourier_crop.crop(lambda start, end: counts[start:end].astype(np.float32), counts.shape, size):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # a few blocks beyond
    assert peak < fourier_crop.spectrum_bytes(counts.shape, size) + (8 << 20)
