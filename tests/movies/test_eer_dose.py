"""Groupings of EER movies that follow from the dose of a fraction."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cryofs
from benchmarks.simulate_eer import Events, encode, metadata, random_frames, write_eer
from cryofs.errors import FormatError, UsageError
from cryofs.formats import eer
from cryofs.movies.eer_dose import counted_electrons
from cryofs.movies.eer_info import describe_eer
from cryofs.movies.eer_rendering import Rendering
from cryofs.storage.byte_source import LocalFile
from tests.movies.eer_samples import FALCON, FRAMES, PLAIN, SHAPE, opened


@pytest.mark.parametrize("pixel_size", [0, 1e9])
def test_a_pixel_size_missing_from_the_metadata(tmp_path: Path, pixel_size: float) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=metadata(11, 0.5, pixel_size))
    with pytest.raises(FormatError, match="no pixel size in the metadata; pass --eer-pixel-size or --eer-grouping"):
        opened(tmp_path / "x.eer", dose_per_fraction=1.0)
    with opened(tmp_path / "x.eer", grouping=4) as movie:
        assert movie.mrc_header.pixel_size == pytest.approx(1.0)
    # 0.5 e/px in 11 frames on pixels of 0.25 A^2 are 0.18 e/A^2 a frame
    with opened(tmp_path / "x.eer", dose_per_fraction=0.5, pixel_size=0.5, upsampling=2) as movie:
        assert movie.grouping == 3
        assert movie.mrc_header.pixel_size == pytest.approx(0.25)
    with opened(tmp_path / "x.eer", dose_per_fraction=2.0, dose=5.5) as movie:
        assert movie.grouping == 4


def test_a_dose_missing_from_the_metadata_is_counted(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=metadata(11, 0, 0.8))
    electrons = sum(map(len, PLAIN)) / len(PLAIN) / (SHAPE[0] * SHAPE[1])
    for grouping in (2, 3, 5):
        with opened(tmp_path / "x.eer", dose_per_fraction=grouping * electrons / 0.64) as movie:
            assert movie.grouping == grouping
    described = describe_eer(tmp_path / "x.eer", 2, Rendering(dose_per_fraction=3 * electrons / 0.64))
    assert (described["dose_source"], described["grouping"]) == ("counted", 3)
    assert described["dose_per_frame"] == pytest.approx(electrons / 0.64)


def test_the_counted_dose_follows_a_dose_that_changes(tmp_path: Path) -> None:
    frames = [frame for part, mean in enumerate((0.01, 0.06, 0.03)) for frame in random_frames(20, SHAPE, mean, FALCON)]
    write_eer(tmp_path / "x.eer", frames, SHAPE, FALCON, xml=metadata(60, 0, 0.8))
    counted = describe_eer(tmp_path / "x.eer", 2, Rendering())["electrons_per_pixel_per_frame"]
    with LocalFile.open(tmp_path / "x.eer") as source:
        assert counted_electrons(source, eer.read_index(source)) == pytest.approx(counted, rel=0.02)


def test_a_file_without_electrons_has_no_dose_per_fraction(tmp_path: Path) -> None:
    nothing = np.zeros(0, np.int64)
    empty = encode(Events(nothing, nothing, nothing), SHAPE[0] * SHAPE[1], FALCON)
    write_eer(tmp_path / "x.eer", [empty] * 4, SHAPE, FALCON, xml=metadata(4, 0, 0.8))
    with pytest.raises(FormatError, match=r"no electrons counted.*--eer-dose or --eer-grouping"):
        opened(tmp_path / "x.eer", dose_per_fraction=1.0)


def test_options_of_open(tmp_path: Path) -> None:
    write_eer(tmp_path / "x.eer", FRAMES, SHAPE, FALCON, xml=metadata(11, 0, 0))
    options: dict[str, Any] = {
        "eer_dose_per_fraction": 2.0,
        "eer_dose": 5.5,
        "eer_pixel_size": 0.5,
        "eer_leftover": "spread",
    }
    with (
        cryofs.open(tmp_path / "x.eer", **options) as movie,
        opened(tmp_path / "x.eer", grouping=4, pixel_size=0.5, leftover="spread") as expected,
    ):
        assert movie.header == expected.header
        assert [frame.tobytes() for frame in movie.frames()] == [frame.tobytes() for frame in expected.frames()]
    for wrong, message in (
        ({"eer_groping": 3}, "did you mean eer_grouping"),
        ({"jobs": 3}, "unknown option 'jobs'"),
        ({"eer_leftover": "pad"}, "expected drop, keep or spread"),
    ):
        with pytest.raises(UsageError, match=message):
            cryofs.open(tmp_path / "x.eer", **wrong)
