"""The check of the settings for EER movies before mounting."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.simulate_eer import Widths, metadata, random_frames, write_eer
from cryofs.config.settings import Settings
from cryofs.errors import FormatError, GainError
from cryofs.vfs.eer_check import check_eer
from tests.vfs.serving import SHAPE, write_movie


def settings(folder: Path, shape: tuple[int, int], **others: object) -> Settings:
    tifffile.imwrite(folder / "falcon.gain", np.ones(shape, np.float32))
    return Settings(eer_gain=str(folder / "falcon.gain"), **others)  # type: ignore[arg-type]


def test_a_reference_of_another_detector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.eer").write_bytes(b"damaged, so the next one counts")
    write_movie(tmp_path / "b" / "x.eer")
    with pytest.raises(GainError, match=r"falcon\.gain: size mismatch .*got 65 x 48.*\(b/x\.eer has 64 x 48 pixels\)"):
        check_eer(tmp_path, settings(tmp_path, (SHAPE[0] + 1, SHAPE[1])))


def test_a_reference_that_is_repeated_is_said_to_be(tmp_path: Path) -> None:
    write_movie(tmp_path / "x.eer")
    (line,) = check_eer(tmp_path, settings(tmp_path, SHAPE))
    assert line.endswith("counts are multiplied with its values (inferred from the file name, as in RELION)")
    (line,) = check_eer(tmp_path, settings(tmp_path, SHAPE, eer_upsampling=2, eer_gain_convention="divide"))
    assert line.endswith(
        "counts are divided by its values (as requested); each of its pixels covers 2 x 2 image pixels"
    )


def test_nothing_is_checked_without_eer_files_or_a_reference(tmp_path: Path) -> None:
    assert check_eer(tmp_path, settings(tmp_path, (3, 4))) == []
    write_movie(tmp_path / "x.eer")
    assert check_eer(tmp_path, Settings()) == []


@pytest.mark.parametrize("dose", [0, 0.5])
def test_settings_that_need_missing_metadata_are_refused(tmp_path: Path, dose: float) -> None:
    frames = list(random_frames(4, SHAPE, 0.05, Widths()))
    write_eer(tmp_path / "x.eer", frames, SHAPE, Widths(), xml=metadata(4, dose, 0))
    with pytest.raises(
        FormatError, match=r"/x\.eer: no pixel size in the metadata; pass --eer-pixel-size or --eer-grouping"
    ):
        check_eer(tmp_path, Settings(eer_dose_per_fraction=1.0))
    assert check_eer(tmp_path, Settings(eer_dose_per_fraction=1.0, eer_pixel_size=0.7)) == []
    assert check_eer(tmp_path, Settings(eer_dose_per_fraction=1.0, eer_dose=40.0)) == []
    # the first file decides, so that one odd file of an archive does not prevent the others from being read
    write_movie(tmp_path / "a.eer")
    assert check_eer(tmp_path, Settings(eer_dose_per_fraction=1.0)) == []


def test_an_upsampling_that_needs_finer_positions_is_refused(tmp_path: Path) -> None:
    coarse = Widths(7, 1, 1, 65002)
    write_eer(tmp_path / "x.eer", random_frames(4, SHAPE, 0.05, coarse), SHAPE, coarse)
    assert check_eer(tmp_path, Settings(eer_upsampling=2)) == []
    with pytest.raises(FormatError, match=r"x\.eer: too few sub-pixel bits for upsampling 4"):
        check_eer(tmp_path, Settings(eer_upsampling=4))


@pytest.mark.parametrize(
    ("options", "suits"),
    [
        ({}, True),
        ({"eer_grouping": 8, "eer_dose": 40.0, "eer_pixel_size": 0.7}, True),
        ({"eer_dose_per_fraction": 1.0}, False),
        ({"eer_upsampling": 2}, False),
        ({"eer_gain": "falcon.gain"}, False),
    ],
)
def test_settings_that_suit_every_file_are_not_checked(options: dict[str, object], suits: bool) -> None:
    assert Settings(**options).suits_every_eer_file is suits  # type: ignore[arg-type]
