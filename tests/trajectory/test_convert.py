"""One trajectory: each value that depends on the fractions changes, all others stay."""

from typing import Any

import numpy as np
import pytest

from cryofs.errors import FormatError, UnsupportedError
from cryofs.formats.star import StarFile
from cryofs.trajectory.convert import Fractions, convert, recorded_grouping, recorded_upsampling
from cryofs.trajectory.motion import NOT_OBSERVED
from tests.trajectory.trajectories import HOT_PIXELS, MODEL, linear_shifts, numbered, table, trajectory

OLD = Fractions(grouping=24, upsampling=1)


def converted(text: str, new: Fractions, old: Fractions = OLD) -> StarFile:
    star = StarFile(text, "x.star")
    convert(star, old, new)
    return StarFile(star.text(), "again.star")


def shifts_of(star: StarFile) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    columns = [star.column("global_shift", f"rlnMicrographShift{axis}") for axis in "XY"]
    return np.array(columns, np.float64).T


def test_finer_fractions_on_a_finer_grid() -> None:
    star = converted(trajectory(linear_shifts(10), HOT_PIXELS), Fractions(8, 2))
    general = {tag: star.value("general", tag) for tag in ("rlnImageSizeX", "rlnImageSizeY", "rlnImageSizeZ")}
    assert general == {"rlnImageSizeX": "2000", "rlnImageSizeY": "1200", "rlnImageSizeZ": "30"}
    assert float(star.value("general", "rlnMicrographDoseRate") or "") == pytest.approx(0.4)
    assert float(star.value("general", "rlnMicrographBinning") or "") == 2
    assert float(star.value("general", "rlnMicrographOriginalPixelSize") or "") == pytest.approx(0.4)
    assert star.value("general", "rlnVoltage") == "300.000000"
    assert (recorded_grouping(star), recorded_upsampling(star)) == (8, 2)
    times = (np.arange(30) + 0.5) / 3 - 0.5
    assert np.allclose(shifts_of(star), 2 * times[:, None] * [1, -2], atol=1e-5)
    assert star.column("global_shift", "rlnMicrographFrameNumber") == [str(number) for number in range(1, 31)]
    assert star.column("hot_pixels", "rlnCoordinateX") == ["20.000000", "21.000000"] * 2
    assert star.column("hot_pixels", "rlnCoordinateY") == ["40.000000", "40.000000", "41.000000", "41.000000"]
    assert star.column("hot_pixels", "rlnNote") == ["a b"] * 4
    assert not star.has("local_shift")
    coefficients = np.array(star.column("local_motion_model", "rlnMotionModelCoeff"), np.float64)
    # third-order terms depend on the scale alone, and shifts double with the grid
    assert np.allclose(coefficients[2::3], 2 * MODEL[2::3] / 27)


def test_up_and_down_gives_the_first_one_back() -> None:
    text = trajectory(linear_shifts(10) ** 2, HOT_PIXELS)
    fine = converted(text, Fractions(8, 4))
    assert recorded_upsampling(fine) == 4
    assert fine.value("general", "rlnEERUpsampling") == "3"
    back = converted(fine.text(), OLD, Fractions(8, 4))
    first = StarFile(text, "x.star")
    first.remove("local_shift")
    for tag in ("rlnImageSizeX", "rlnImageSizeY", "rlnImageSizeZ", "rlnEERGrouping", "rlnEERUpsampling"):
        assert back.value("general", tag) == first.value("general", tag)
    assert np.allclose(shifts_of(back), shifts_of(first), atol=1e-5)
    assert back.column("hot_pixels", "rlnCoordinateX") == ["10.000000"]
    model = np.array(back.column("local_motion_model", "rlnMotionModelCoeff"), np.float64)
    assert np.allclose(model, MODEL, atol=1e-6)


def test_movies_whose_first_fractions_were_skipped() -> None:
    rows = numbered(linear_shifts(4) + 7, 3)
    text = trajectory(linear_shifts(6), rlnMicrographStartFrame=3)
    star = StarFile(text, "x.star")
    star.set_rows(
        "global_shift", range(4), dict(zip(["rlnMicrographFrameNumber"], [[r[0] for r in rows]], strict=True))
    )
    again = converted(star.text(), Fractions(12, 1))
    assert again.value("general", "rlnMicrographStartFrame") == "5"
    shifts = shifts_of(again)
    assert (shifts[:4] == NOT_OBSERVED).all()
    assert np.allclose(shifts[4:, 0], np.arange(8) / 2 - 0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rlnImageSizeZ": 3}, "invalid frame numbers in data_global_shift for 3 fractions"),
        ({"rlnImageSizeZ": "many"}, "invalid rlnImageSizeZ in data_general"),
        ({"rlnImageSizeX": None}, "invalid rlnImageSizeX in data_general"),
        ({"rlnMicrographDoseRate": "nan"}, "invalid rlnMicrographDoseRate in data_general"),
    ],
)
def test_invalid_values_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        converted(trajectory(linear_shifts(10), **changes), Fractions(8, 2))


def test_tables_that_cannot_be_converted_are_errors() -> None:
    with pytest.raises(FormatError, match=r"too few frames for a fraction .expected 300, .*; lower --grouping"):
        converted(trajectory(linear_shifts(10)), Fractions(300, 1))
    with pytest.raises(UnsupportedError, match="unsupported motion model 2"):
        converted(trajectory(linear_shifts(10), rlnMotionModelVersion=2), Fractions(8, 1))
    with pytest.raises(FormatError, match="not a multiple of 4"):
        converted(trajectory(linear_shifts(10), rlnImageSizeX=1001), OLD, Fractions(24, 4))
    short = trajectory(linear_shifts(10)).replace("35  ", "36  ")
    with pytest.raises(FormatError, match="expected coefficients 0 to 35"):
        converted(short, Fractions(8, 1))
    broken = trajectory(linear_shifts(10), table("hot_pixels", "rlnCoordinateX", [["5"]]))
    with pytest.raises(FormatError, match="missing column or non-numeric value in data_hot_pixels"):
        converted(broken, Fractions(24, 2))
    with pytest.raises(FormatError, match=r"invalid rlnEERUpsampling \(expected 1, 2 or 3, got 7\)"):
        recorded_upsampling(StarFile(trajectory(linear_shifts(3), rlnEERUpsampling=7), "x.star"))
