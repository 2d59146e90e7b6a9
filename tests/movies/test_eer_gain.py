"""Gain references of EER movies on the grid of the fractions."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from cryofs.config.choices import EerGainConvention
from cryofs.errors import GainError
from cryofs.movies.eer_gain import EerGains, check_fit, defects_of
from tests.movies.eer_samples import SHAPE, gain_values, write_gain


def expected_gain(gain: NDArray[np.float32], kind: str, factor: int, divisor: int) -> NDArray[np.float64]:
    """Gain on another grid, to be multiplied."""
    values = gain.astype(np.float64).repeat(factor, 0).repeat(factor, 1)
    ny, nx = values.shape
    summed: NDArray[np.float64] = values.reshape(ny // divisor, divisor, nx // divisor, divisor).sum(axis=(1, 3))
    if kind == "mrc":
        np.divide(summed.mean(), summed, out=summed, where=summed != 0)
    return summed


@pytest.mark.parametrize("kind", ["gain", "mrc"])
@pytest.mark.parametrize(("scale", "upsampling"), [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)])
def test_gain_references(tmp_path: Path, kind: str, scale: int, upsampling: int) -> None:
    gain = gain_values((SHAPE[0] * scale, SHAPE[1] * scale))
    path = write_gain(tmp_path, kind, gain)
    wanted = (SHAPE[0] * upsampling, SHAPE[1] * upsampling)
    found = EerGains().get(path, wanted).values
    factor, divisor = max(1, upsampling // scale), max(1, scale // upsampling)
    np.testing.assert_allclose(found, expected_gain(gain, kind, factor, divisor), rtol=1e-5)
    assert (found == 0).any() == (divisor == 1 or bool((expected_gain(gain, kind, factor, divisor) == 0).any()))


BAD = {(3, 5): np.nan, (3, 6): np.inf, (20, 0): -np.inf, (47, 63): -0.5}


def spoiled(gain: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a gain with invalid values."""
    gain = gain.copy()
    for place, value in BAD.items():
        gain[place] = value
    return gain


@pytest.mark.parametrize("kind", ["gain", "mrc"])
@pytest.mark.parametrize("upsampling", [1, 2])
def test_values_that_cannot_be_a_gain_are_defects(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, upsampling: int
) -> None:
    gain = gain_values(SHAPE)
    path = write_gain(tmp_path, kind, spoiled(gain))
    for place in BAD:
        gain[place] = 0
    gains, wanted = EerGains(), (SHAPE[0] * upsampling, SHAPE[1] * upsampling)
    # as in a reference that has zeros there, also for the mean
    np.testing.assert_allclose(gains.get(path, wanted).values, expected_gain(gain, kind, upsampling, 1), rtol=1e-5)
    (line,) = caplog.messages
    assert line.startswith(f"{path}: 4 pixels without a valid gain")
    assert line.endswith("row 3 column 5, row 3 column 6, row 20 column 0, row 47 column 63")
    gains.get(path, SHAPE)
    assert len(caplog.messages) == 1
    write_gain(tmp_path, kind, spoiled(gain) * 2).touch()
    gains.get(path, wanted)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("kind", ["gain", "mrc"])
@pytest.mark.parametrize("divisor", [2, 4])
def test_a_sum_with_a_value_that_cannot_be_a_gain_is_a_defect(tmp_path: Path, kind: str, divisor: int) -> None:
    gain = gain_values((SHAPE[0] * divisor, SHAPE[1] * divisor))
    path = write_gain(tmp_path, kind, spoiled(gain))
    bad = np.zeros(SHAPE, bool)
    for row, column in BAD:
        bad[row // divisor, column // divisor] = True
        gain[row // divisor * divisor :, column // divisor * divisor :][:divisor, :divisor] = 0
    found = EerGains().get(path, SHAPE).values
    np.testing.assert_allclose(found, expected_gain(gain, kind, 1, divisor), rtol=1e-5)
    assert not found[bad].any()
    # zeros are summed up with their neighbours, as in RELION
    assert found[10 // divisor, 20 // divisor] > 0 or divisor == 1


def test_values_too_small_to_divide_by_are_defects(tmp_path: Path) -> None:
    gain = gain_values(SHAPE)
    gain[5, 5] = 1e-40
    found = EerGains().get(write_gain(tmp_path, "mrc", gain), SHAPE).values
    assert found[5, 5] == 0
    assert np.isfinite(found).all()


def test_many_defects_are_counted_and_some_are_listed(tmp_path: Path) -> None:
    gain = gain_values(SHAPE)
    gain[30, :50] = np.nan
    (line,) = defects_of(write_gain(tmp_path, "gain", gain)).splitlines()
    assert "50 pixels " in line
    assert line.endswith("row 30 column 9, and 40 more")
    gain[30] = 1
    gain[7, 8] = -1
    assert "1 pixel " in defects_of(write_gain(tmp_path, "gain", gain))
    assert defects_of(write_gain(tmp_path, "mrc", gain_values(SHAPE))) == ""


@pytest.mark.parametrize("kind", ["gain", "mrc"])
@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_a_gain_reference_without_a_usable_value(tmp_path: Path, kind: str, value: float) -> None:
    path = write_gain(tmp_path, kind, np.full(SHAPE, value, np.float32))
    with pytest.raises(GainError, match=f"{path}: no valid gain \\(expected at least one finite value above 0\\)"):
        EerGains().get(path, SHAPE)


def test_a_gain_of_double_precision_that_is_too_large(tmp_path: Path) -> None:
    gain = gain_values(SHAPE).astype(np.float64)
    gain[5, 5] = 1e300
    tifffile.imwrite(tmp_path / "falcon.gain", gain)
    assert EerGains().get(tmp_path / "falcon.gain", SHAPE).values[5, 5] == 0


def test_unusable_gain_references_are_refused(tmp_path: Path) -> None:
    path = write_gain(tmp_path, "gain", gain_values((SHAPE[0], SHAPE[1] + 1)))
    with pytest.raises(GainError, match=r"falcon\.gain: size mismatch .*expected 48 x 64, got 48 x 65"):
        EerGains().get(path, SHAPE)
    path.write_text("no TIFF")
    with pytest.raises(GainError, match=r"falcon\.gain: not a valid TIFF"):
        EerGains().get(path, SHAPE)
    tifffile.imwrite(path, np.zeros((4, *SHAPE, 3), np.uint8), photometric="rgb")
    with pytest.raises(GainError, match="not a valid gain reference"):
        EerGains().get(path, SHAPE)
    with pytest.raises(GainError, match=r"nowhere.*cannot read"):
        EerGains().get(tmp_path / "nowhere.gain", SHAPE)


def test_a_loaded_gain_is_shared_until_its_file_changes(tmp_path: Path) -> None:
    path = write_gain(tmp_path, "gain", gain_values(SHAPE))
    gains = EerGains()
    first = gains.get(path, SHAPE)
    assert gains.get(path, SHAPE) is first
    tifffile.imwrite(path, 2 * gain_values(SHAPE))
    assert gains.get(path, SHAPE).values[0, 0] == 2 * first.values[0, 0]


@pytest.mark.parametrize("kind", ["gain", "mrc"])
@pytest.mark.parametrize("convention", ["multiply", "divide"])
def test_a_convention_that_is_named_counts_whatever_the_name(
    tmp_path: Path, kind: str, convention: EerGainConvention
) -> None:
    gain = gain_values(SHAPE)
    path = write_gain(tmp_path, kind, gain)
    found = EerGains().get(path, SHAPE, convention).values
    # RELION reverses the rows of TIFF files that it does not multiply with
    stored = gain[::-1] if (kind, convention) == ("gain", "divide") else gain
    divided = np.divide(stored.mean(), stored, out=np.zeros_like(stored), where=stored != 0)
    np.testing.assert_allclose(found, stored if convention == "multiply" else divided, rtol=1e-6)


def test_the_convention_and_the_grid_are_told(tmp_path: Path) -> None:
    path = write_gain(tmp_path, "gain", gain_values(SHAPE))
    lines: list[str] = []
    gains = EerGains()
    gains.inform = lines.append
    for _ in range(2):
        gains.get(path, (2 * SHAPE[0], 2 * SHAPE[1]))
    assert lines == [
        f"{path}: gain reference of 48 x 64; counts are multiplied with its values "
        "(inferred from the file name, as in RELION); each of its pixels covers 2 x 2 image pixels"
    ]
    assert check_fit(path, "divide", SHAPE) == [
        f"{path}: gain reference of 48 x 64; counts are divided by its values (as requested)"
    ]
    with pytest.raises(GainError, match="size mismatch"):
        check_fit(path, None, (SHAPE[0] + 1, SHAPE[1]))


def test_contents_that_contradict_the_convention_give_a_warning(tmp_path: Path) -> None:
    gain = gain_values(SHAPE)
    capital = write_gain(tmp_path, "gain", gain).rename(tmp_path / "falcon.GAIN")
    mrc = write_gain(tmp_path, "mrc", gain).rename(tmp_path / "divisors.gain")
    tiff = tmp_path / "falcon.tiff"
    tifffile.imwrite(tiff, gain, extratags=[(65100, 7, 4, b"<a/>", False)])
    plain = tmp_path / "plain.tiff"
    tifffile.imwrite(plain, gain)
    good = write_gain(tmp_path, "mrc", gain), write_gain(tmp_path, "gain", gain), plain
    for path, reason in ((capital, "lower case"), (mrc, "an MRC file"), (tiff, "its metadata are those")):
        _, warning = check_fit(path, None, SHAPE)
        assert reason in warning
        assert warning.endswith("--eer-gain-convention multiply or divide")
        assert len(check_fit(path, "multiply", SHAPE)) == 1
    assert [len(check_fit(path, None, SHAPE)) for path in good] == [1, 1, 1]
