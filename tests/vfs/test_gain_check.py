"""The check of a gain reference before mounting."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cryofs.config.settings import Settings
from cryofs.errors import GainError
from cryofs.vfs.gain_check import check_gain
from tests.vfs.serving import SHAPE, write_movie


def settings(folder: Path, shape: tuple[int, int], **others: object) -> Settings:
    tifffile.imwrite(folder / "falcon.gain", np.ones(shape, np.float32))
    return Settings(eer_gain=str(folder / "falcon.gain"), **others)  # type: ignore[arg-type]


def test_a_reference_of_another_detector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.eer").write_bytes(b"damaged, so the next one counts")
    write_movie(tmp_path / "b" / "x.eer")
    with pytest.raises(GainError, match=r"falcon\.gain: size mismatch .*got 65 x 48.*\(b/x\.eer has 64 x 48 pixels\)"):
        check_gain(tmp_path, settings(tmp_path, (SHAPE[0] + 1, SHAPE[1])))


def test_a_reference_that_is_repeated_is_said_to_be(tmp_path: Path) -> None:
    write_movie(tmp_path / "x.eer")
    (line,) = check_gain(tmp_path, settings(tmp_path, SHAPE))
    assert line.endswith("counts are multiplied with its values (inferred from the file name, as in RELION)")
    (line,) = check_gain(tmp_path, settings(tmp_path, SHAPE, eer_upsampling=2, eer_gain_convention="divide"))
    assert line.endswith(
        "counts are divided by its values (as requested); each of its pixels covers 2 x 2 image pixels"
    )


def test_nothing_is_checked_without_eer_files_or_a_reference(tmp_path: Path) -> None:
    assert check_gain(tmp_path, settings(tmp_path, (3, 4))) == []
    write_movie(tmp_path / "x.eer")
    assert check_gain(tmp_path, Settings()) == []
