"""A gain reference that the user names, with the reliability map that RELION wrote beside it."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulate import header
from cryofs.errors import GainError
from cryofs.kernels.from_counts import GainReference
from cryofs.movies.gain_library import load_given, reference_file

SHAPE = (6, 5)
GAIN = np.linspace(0.9, 1.2, 30, dtype=np.float32).reshape(SHAPE)


def write(path: Path, values: NDArray[np.generic], mode: int) -> Path:
    path.write_bytes(header((1, *values.shape), mode) + values.tobytes())
    return path


def relion_files(folder: Path, reliability: NDArray[np.int16]) -> Path:
    """The files of `relion_convert_to_tiff --estimate_gain`."""
    write(folder / "gain_estimate_reliablity.bin", reliability, 1)
    return write(folder / "gain_estimate.bin", GAIN, 2)


@pytest.mark.parametrize(
    ("usual", "usable"),
    [
        (50, [False, False, False, True]),
        # few frames: no pixel would be reliable, so one agreeing value is enough
        (20, [False, False, True, True]),
    ],
)
def test_unreliable_pixels_have_no_gain(tmp_path: Path, usual: int, usable: list[bool]) -> None:
    reliability = np.full(SHAPE, usual, np.int16)
    reliability[0, :4] = -1, 0, 19, 50
    path = relion_files(tmp_path, reliability)
    found, data = load_given(path)
    expected = GAIN.copy()
    expected[0, :4][~np.array(usable)] = 1
    assert np.array_equal(found.gain, expected)
    again = tmp_path / "again.mrc"
    again.write_bytes(data)
    assert np.array_equal(load_given(again)[0].gain, expected)


def test_a_reference_is_unchanged_if_the_map_excludes_nothing(tmp_path: Path) -> None:
    path = relion_files(tmp_path, np.full(SHAPE, 80, np.int16))
    assert load_given(path)[1] == path.read_bytes()
    (tmp_path / "gain_estimate_reliablity.bin").unlink()
    assert load_given(path)[1] == path.read_bytes()


def test_the_map_that_cryofs_writes_for_relion_is_not_for_its_own_reference(tmp_path: Path) -> None:
    path = tmp_path / "gain-reference.mrc"
    path.write_bytes(reference_file(GainReference(GAIN), 1.0))
    write(tmp_path / "gain-reference_reliablity.mrc", np.full(SHAPE, -1, np.int16), 1)
    found, data = load_given(path)
    assert np.array_equal(found.gain, GAIN)
    assert data == path.read_bytes()


def test_a_map_that_is_not_usable_is_an_error(tmp_path: Path) -> None:
    path = relion_files(tmp_path, np.full(SHAPE, 80, np.int16))
    other = tmp_path / "gain_estimate_reliablity.bin"
    write(other, np.full((5, 6), 80, np.int16), 1)
    with pytest.raises(
        GainError, match=r"gain_estimate_reliablity.bin: does not fit the gain reference .*one frame of 6 x 5"
    ):
        load_given(path)
    other.write_bytes(b"cut")
    with pytest.raises(GainError, match=r"gain_estimate_reliablity.bin: .*remove or replace"):
        load_given(path)
